# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class DropTemporaryTriggerOnLabels < ActiveRecord::Migration[6.1]
  def up
    say 'nothing to do'
  end

  def down; end
end
