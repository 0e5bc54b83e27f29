# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

require_relative 'lib/mini_gitlab/boot'
require_relative 'lib/mini_gitlab/web'

run MiniGitlab::Web.new
