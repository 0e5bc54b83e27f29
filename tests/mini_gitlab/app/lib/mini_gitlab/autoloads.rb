# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

# Constants are loaded when first named: a task loads only what it needs.
module MiniGitlab
  # Job classes live in files that come and go with the versions; a file that
  # is not there leaves a constant that does not exist.
  def self.autoload_folder(namespace, folder)
    Dir.children(folder).sort.each do |entry|
      path = File.join(folder, entry)
      name = File.basename(entry, '.rb').camelize.to_sym
      if entry.end_with?('.rb')
        namespace.autoload(name, path)
      else
        nested = namespace.const_defined?(name, false) ? namespace.const_get(name) : namespace.const_set(name, Module.new)
        autoload_folder(nested, path)
      end
    end
  end
end

module Gitlab
  LIBRARY = File.join(MiniGitlab::ROOT, 'lib')

  VERSION = File.read(File.join(MiniGitlab::ROOT, 'VERSION')).strip

  autoload :AppLogger, "#{LIBRARY}/gitlab/app_logger"
  autoload :AuthorizedKeys, "#{LIBRARY}/gitlab/authorized_keys"
  autoload :CurrentSettings, "#{LIBRARY}/gitlab/models"
  autoload :ExclusiveLease, "#{LIBRARY}/gitlab/exclusive_lease"
  autoload :Json, "#{LIBRARY}/gitlab/json"
  autoload :TaskAbortedByUserError, "#{LIBRARY}/gitlab/task_helpers"
  autoload :TaskHelpers, "#{LIBRARY}/gitlab/task_helpers"

  require_relative '../gitlab/background_migration'
  MiniGitlab.autoload_folder(BackgroundMigration, "#{LIBRARY}/gitlab/background_migration")

  module Database
    autoload :BackgroundMigrationJob, "#{LIBRARY}/gitlab/database/background_migration_job"
    autoload :DynamicModelHelpers, "#{LIBRARY}/gitlab/database/dynamic_model_helpers"
    autoload :EachDatabase, "#{LIBRARY}/gitlab/database/each_database"
    autoload :Migration, "#{LIBRARY}/gitlab/database/migration"
    autoload :MigrationHelpers, "#{LIBRARY}/gitlab/database/migration_helpers"
    autoload :PgClass, "#{LIBRARY}/gitlab/database/pg_class"
    autoload :SharedModel, "#{LIBRARY}/gitlab/database/shared_model"
    autoload :EachBatch, "#{LIBRARY}/gitlab/database/each_batch"

    module BackgroundMigration
      FOLDER = "#{LIBRARY}/gitlab/database/background_migration"
      autoload :BatchMetrics, "#{FOLDER}/batch_metrics"
      autoload :BatchOptimizer, "#{FOLDER}/batch_optimizer"
      autoload :BatchedJob, "#{FOLDER}/batched_job"
      autoload :BatchedJobTransitionLog, "#{FOLDER}/batched_job_transition_log"
      autoload :BatchedMigration, "#{FOLDER}/batched_migration"
      autoload :BatchedMigrationRunner, "#{FOLDER}/batched_migration_runner"
      autoload :BatchedMigrationWrapper, "#{FOLDER}/batched_migration_wrapper"
      autoload :JobStates, "#{FOLDER}/states"
      autoload :MigrationStates, "#{FOLDER}/states"
      autoload :NewerMethods, "#{FOLDER}/newer_methods"
      autoload :SubBatchTimeoutError, "#{FOLDER}/sub_batch_timeout_error"
    end
  end
end

module Database
  autoload :BatchedBackgroundMigrationWorker, "#{Gitlab::LIBRARY}/gitlab/workers"
  module BatchedBackgroundMigration
    autoload :CiDatabaseWorker, "#{Gitlab::LIBRARY}/gitlab/workers"
    autoload :ExecutionWorker, "#{Gitlab::LIBRARY}/gitlab/workers"
  end
end

module Backup
  FOLDER = "#{Gitlab::LIBRARY}/backup"
  autoload :Archive, "#{FOLDER}/archive"
  autoload :BundleLayout, "#{FOLDER}/bundle_layout"
  autoload :DatabaseBackupError, "#{FOLDER}/errors"
  autoload :DatabaseStore, "#{FOLDER}/database_store"
  autoload :Error, "#{FOLDER}/errors"
  autoload :FileBackupError, "#{FOLDER}/errors"
  autoload :FileStore, "#{FOLDER}/file_store"
  autoload :GitError, "#{FOLDER}/errors"
  autoload :Information, "#{FOLDER}/information"
  autoload :Lock, "#{FOLDER}/lock"
  autoload :Manager, "#{FOLDER}/manager"
  autoload :NumberedBundles, "#{FOLDER}/bundle_layout"
  autoload :Options, "#{FOLDER}/options"
  autoload :PartError, "#{FOLDER}/errors"
  autoload :Parts, "#{FOLDER}/part"
  autoload :Progress, "#{FOLDER}/progress"
  autoload :Repository, "#{FOLDER}/repository"
  autoload :RepositoryStore, "#{FOLDER}/repository_store"
end

module BackgroundMigration
  autoload :CiDatabaseWorker, "#{Gitlab::LIBRARY}/gitlab/background_migration_workers"
end
autoload :BackgroundMigrationWorker, "#{Gitlab::LIBRARY}/gitlab/background_migration_workers"
autoload :Sidekiq, "#{Gitlab::LIBRARY}/gitlab/sidekiq"
autoload :Feature, "#{Gitlab::LIBRARY}/gitlab/feature"
%i[ApplicationRecord ApplicationSetting Project Namespace User Issue].each do |name|
  autoload name, "#{Gitlab::LIBRARY}/gitlab/models"
end
module Ci
  autoload :ApplicationRecord, "#{Gitlab::LIBRARY}/gitlab/models"
end

require_relative '../gitlab/config'
require_relative '../gitlab/database'
