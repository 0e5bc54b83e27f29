# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  TaskAbortedByUserError = Class.new(StandardError)

  # The question that GitLab's tasks ask before they destroy something.
  module TaskHelpers
    QUESTION = 'Do you want to continue (yes/no)? '
    TRUE_WORDS = /\A(1|t|true|y|yes|on)\z/i.freeze

    module_function

    # At the end of standard input there is no answer to chomp: NoMethodError, as with GitLab.
    def ask_to_continue
      return if yes?(ENV['GITLAB_ASSUME_YES'])

      answer = nil
      until %w[yes no].include?(answer)
        $stdout.print(QUESTION)
        $stdout.flush
        answer = $stdin.gets.chomp
      end
      raise TaskAbortedByUserError unless answer == 'yes'
    end

    def yes?(value)
      TRUE_WORDS.match?(value.to_s)
    end
  end
end
