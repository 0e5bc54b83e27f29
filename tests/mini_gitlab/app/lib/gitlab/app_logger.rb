# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

require 'json'

module Gitlab
  # JSON lines in application_json.log; nothing of it reaches stdout or stderr.
  module AppLogger
    FILE = File.join(ENV['MINI_GITLAB_LOG_DIR'] || File.join(MiniGitlab::ROOT, 'log'), 'application_json.log')

    class << self
      %i[debug info warn error].each do |severity|
        define_method(severity) { |entry| write(severity, entry) }
      end

      private

      def write(severity, entry)
        entry = { message: entry } unless entry.is_a?(Hash)
        line = { severity: severity.to_s.upcase, time: Time.now.utc.iso8601(3) }.merge(entry)
        File.open(FILE, 'a') { |file| file.puts(JSON.generate(line)) }
      rescue Errno::EACCES, Errno::ENOENT
        nil
      end
    end
  end
end
