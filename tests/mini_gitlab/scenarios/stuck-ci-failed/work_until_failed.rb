# SPDX-License-Identifier: GPL-3.0-or-later
# What Sidekiq does each two minutes, without the minutes between.
connection = Gitlab::Database.database_base_models['ci'].connection
Gitlab::Database::SharedModel.using_connection(connection) do
  migration = Gitlab::Database::BackgroundMigration::BatchedMigration.find_by!(job_class_name: 'BackfillPartitionIdCiPipelineMessage')
  runner = Gitlab::Database::BackgroundMigration::BatchedMigrationRunner.new(connection: connection)
  while migration.reload.status == 1
    begin
      runner.run_migration_job(migration)
    rescue ActiveRecord::StatementInvalid => e
      puts e.message.lines.first
    end
  end
end
