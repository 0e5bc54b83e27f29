# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

require 'fileutils'

module Gitlab
  # What gitlab:shell:setup does: here nobody has an SSH key, so the file only holds its first line.
  module AuthorizedKeys
    FIRST_LINE = "# Managed by gitlab-shell\n"

    module_function

    def rebuild
      unless ENV['force'] == 'yes'
        puts 'This task will now rebuild the authorized_keys file.'
        puts 'You will lose any data stored in the authorized_keys file.'
        TaskHelpers.ask_to_continue
        puts ''
      end
      file = Gitlab.config.fetch('gitlab_shell').fetch('authorized_keys_file')
      FileUtils.mkdir_p(File.dirname(file), mode: 0o700)
      File.write(file, FIRST_LINE, perm: 0o600)
    rescue TaskAbortedByUserError
      puts 'Quitting...'
      exit 1
    end
  end
end
