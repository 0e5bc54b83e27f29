# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

require 'optparse'

module MiniGitlab
  # The sub-commands of `rails` that an administrator uses.
  module Command
    USAGE = <<~TEXT
      The mini GitLab knows these rails commands:
        runner [-e ENVIRONMENT] CODE | FILE | - [ARGUMENTS]
        dbconsole [--database NAME]
        version
      Tasks are run with rake.
    TEXT

    module_function

    def run(arguments)
      arguments = arguments.dup
      case arguments.shift
      when 'runner', 'r' then Runner.run(arguments)
      when 'dbconsole', 'db' then dbconsole(arguments)
      when 'version', '-v', '--version' then version
      else
        warn USAGE
        exit 1
      end
    end

    def dbconsole(arguments)
      database = 'main'
      OptionParser.new do |options|
        options.on('--db NAME', '--database NAME') { |name| database = name }
        options.on('-e', '--environment ENVIRONMENT') { |name| ENV['RAILS_ENV'] = name }
        options.on('-p', '--include-password')
      end.order!(arguments)
      require_relative 'boot'
      settings = Gitlab::Database.db_configs.find { |config| config.name == database }.configuration_hash
      options = { '-h' => settings[:host], '-p' => settings[:port], '-U' => settings[:username], '-d' => settings[:database] }
      exec('psql', *options.reject { |_, value| value.nil? }.flatten.map(&:to_s), *arguments)
    end

    def version
      require_relative 'boot'
      puts "Rails #{ActiveRecord::VERSION::STRING}"
    end

    # rails runner: code, a file, or standard input.
    module Runner
      module_function

      def run(arguments)
        help = "Run 'rails runner -h' for help."
        parser = OptionParser.new do |options|
          options.banner = 'Usage: rails runner [options] [<\'Some.ruby(code)\'> | <filename.rb> | -]'
          options.on('-e', '--environment ENVIRONMENT') { |name| ENV['RAILS_ENV'] = name }
        end
        parser.order!(arguments)
        source = arguments.shift
        if source.nil?
          puts parser.help
          exit 1
        end
        require_relative 'boot'
        ARGV.replace(arguments)
        evaluate(source, help)
      end

      def evaluate(source, help)
        if source == '-'
          eval($stdin.read, TOPLEVEL_BINDING, 'stdin') # rubocop:disable Security/Eval
        elsif File.exist?(source)
          $PROGRAM_NAME = source
          Kernel.load(source)
        else
          evaluate_code(source, help)
        end
      end

      def evaluate_code(source, help)
        eval(source, TOPLEVEL_BINDING, __FILE__, __LINE__) # rubocop:disable Security/Eval
      rescue SyntaxError, NameError => error
        warn 'Please specify a valid ruby command or the path of a script to run.'
        warn help
        warn ''
        warn error
        exit 1
      end
    end
  end
end
