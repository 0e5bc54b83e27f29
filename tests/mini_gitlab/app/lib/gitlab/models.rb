# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class ApplicationRecord < ActiveRecord::Base
  self.abstract_class = true
end

class ApplicationSetting < ApplicationRecord
  def self.current
    first || create!
  end
end

class Project < ApplicationRecord; end
class Namespace < ApplicationRecord
  self.inheritance_column = nil
end
class User < ApplicationRecord; end
class Issue < ApplicationRecord; end

module Ci
  class ApplicationRecord < ::ApplicationRecord
    self.abstract_class = true
    establish_connection(:ci) if Gitlab::Database.configured?('ci')
  end
end

module Gitlab
  # Settings of the instance; every call reads the row.
  module CurrentSettings
    def self.current_application_settings
      ApplicationSetting.current
    end

    def self.update!(**attributes)
      ApplicationSetting.current.update!(**attributes)
    end

    def self.method_missing(name, *arguments)
      current_application_settings.public_send(name, *arguments)
    end

    def self.respond_to_missing?(*)
      true
    end
  end
end
