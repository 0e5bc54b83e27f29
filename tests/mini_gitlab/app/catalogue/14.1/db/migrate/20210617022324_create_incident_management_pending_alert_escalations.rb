# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

class CreateIncidentManagementPendingAlertEscalations < ActiveRecord::Migration[6.1]
  include Gitlab::Database::MigrationHelpers

  def change
    create_table(:incident_management_pending_alert_escalations) { |t| t.bigint :rule_id, :alert_id; t.datetime :process_at, null: false }
  end
end
