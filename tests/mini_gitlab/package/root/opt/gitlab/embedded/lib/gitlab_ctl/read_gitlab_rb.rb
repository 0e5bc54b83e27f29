# Copyright (c) 2026, The gitlab_fleet.upgrade authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Evaluates a gitlab.rb, which is Ruby, and prints what it set as one JSON object.

require 'json'

class GitlabRb
  def initialize
    @settings = Hash.new { |hash, key| hash[key] = Hash.new(&hash.default_proc) }
  end

  def to_json(*)
    @settings.to_json
  end

  # Any name is a setting: `puma` reads (and creates) its hash, `external_url 'x'` and `roles %w[a b]` write.
  def method_missing(name, *values)
    key = name.to_s
    return @settings[key] if values.empty?

    @settings[key] = values.one? ? values.first : values
  end

  def respond_to_missing?(*)
    true
  end
end

begin
  config = GitlabRb.new
  config.instance_eval(File.read(ARGV.fetch(0)), ARGV.fetch(0))
  puts config.to_json
rescue ScriptError, StandardError => e
  warn "#{e.class}: #{e.message}"
  exit 1
end
