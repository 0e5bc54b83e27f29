# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

require 'pathname'
require 'yaml'

module Gitlab
  # config/gitlab.yml, as reconfigure writes it: where the data that is not in the database lies.
  module Config
    module_function

    def path
      ENV['MINI_GITLAB_GITLAB_YML'] || File.join(MiniGitlab::ROOT, 'config/gitlab.yml')
    end

    def load
      YAML.safe_load(File.read(path), aliases: true).fetch(Rails.env.to_s)
    end
  end

  def self.config
    @config ||= Config.load
  end
end
