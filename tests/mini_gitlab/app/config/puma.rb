# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

environment 'production'
workers 0
threads 1, 4
bind ENV.fetch('PUMA_BIND', 'tcp://127.0.0.1:8080')
rackup File.expand_path('../config.ru', __dir__)
