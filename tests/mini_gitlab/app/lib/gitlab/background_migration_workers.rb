# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module BackgroundMigration
  # What the workers of the databases have in common. In a message: class, arguments.
  module SingleDatabaseWorker
    def self.included(worker)
      worker.include(Sidekiq::Worker)
    end

    def perform(class_name, arguments = [])
      Gitlab::BackgroundMigration::JobCoordinator.for_tracking_database(self.class.tracking_database).perform(class_name, arguments)
    end
  end

  class CiDatabaseWorker
    include SingleDatabaseWorker
    sidekiq_options queue: 'background_migration_ci_database', retry: 3

    def self.tracking_database
      'ci'
    end
  end
end

class BackgroundMigrationWorker
  include BackgroundMigration::SingleDatabaseWorker
  sidekiq_options queue: 'background_migration', retry: 3

  def self.tracking_database
    'main'
  end
end
