# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

require 'json'
require 'oj'

module Gitlab
  module Json
    # Any JSON value, scalars too; errors carry the parser's text.
    def self.parse(text)
      Oj.load(text, mode: :rails)
    rescue Oj::ParseError, EncodingError => error
      raise JSON::ParserError, error
    end
  end
end
