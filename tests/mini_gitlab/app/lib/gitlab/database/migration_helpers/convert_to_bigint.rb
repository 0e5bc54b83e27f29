# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module Database
    module MigrationHelpers
      # integer columns become bigint: a second column kept equal by a trigger,
      # a background migration that copies the old rows, then a swap.
      module ConvertToBigint
        SUFFIX = '_convert_to_bigint'
        BATCH_SIZE = 20_000
        SUB_BATCH_SIZE = 1_000
        INTERVAL = 2.minutes

        def initialize_conversion_of_integer_to_bigint(table, columns, primary_key: :id) # rubocop:disable Lint/UnusedMethodArgument
          columns = Array.wrap(columns)
          add_conversion_columns(table, columns)
          connection.execute(<<~SQL)
            CREATE OR REPLACE FUNCTION #{trigger_name(table, columns)}() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
              #{columns.map { |column| "NEW.#{column}#{SUFFIX} := NEW.#{column};" }.join(' ')}
              RETURN NEW;
            END $$;
            CREATE TRIGGER #{trigger_name(table, columns)} BEFORE INSERT OR UPDATE ON #{table}
              FOR EACH ROW EXECUTE FUNCTION #{trigger_name(table, columns)}();
          SQL
        end

        def backfill_conversion_of_integer_to_bigint(
          table, columns, primary_key: :id, batch_size: BATCH_SIZE, sub_batch_size: SUB_BATCH_SIZE, interval: INTERVAL
        )
          columns = Array.wrap(columns).map(&:to_s)
          queue_batched_background_migration(
            'CopyColumnUsingBackgroundMigrationJob', table, primary_key, columns, columns.map { |column| column + SUFFIX },
            job_interval: interval, batch_size: batch_size, sub_batch_size: sub_batch_size
          )
        end

        def ensure_backfill_conversion_of_integer_to_bigint_is_finished(table, columns, primary_key: :id)
          columns = Array.wrap(columns).map(&:to_s)
          ensure_batched_background_migration_is_finished(
            job_class_name: 'CopyColumnUsingBackgroundMigrationJob', table_name: table.to_s, column_name: primary_key.to_s,
            job_arguments: [columns, columns.map { |column| column + SUFFIX }]
          )
        end

        # Exchanges the columns; the integer one keeps the suffix's name.
        def swap_integer_to_bigint(table, columns, primary_key: :id)
          with_lock_retries do
            connection.execute("LOCK TABLE #{table} IN ACCESS EXCLUSIVE MODE")
            Array.wrap(columns).each { |column| swap_column(table, column, primary: column.to_s == primary_key.to_s) }
          end
        end

        private

        def add_conversion_columns(table, columns)
          columns.each do |column|
            connection.execute("ALTER TABLE #{table} ADD COLUMN #{column}#{SUFFIX} bigint DEFAULT 0 NOT NULL")
          end
        end

        def swap_column(table, column, primary:)
          sequence = connection.select_value("SELECT pg_get_serial_sequence('#{table}', '#{column}')") if primary
          connection.execute(<<~SQL)
            ALTER TABLE #{table} RENAME COLUMN #{column} TO #{column}_swap;
            ALTER TABLE #{table} RENAME COLUMN #{column}#{SUFFIX} TO #{column};
            ALTER TABLE #{table} RENAME COLUMN #{column}_swap TO #{column}#{SUFFIX};
            ALTER TABLE #{table} ALTER COLUMN #{column} DROP DEFAULT, ALTER COLUMN #{column}#{SUFFIX} DROP DEFAULT;
            UPDATE #{table} SET #{column}#{SUFFIX} = #{column} WHERE #{column}#{SUFFIX} IS NULL;
          SQL
          swap_primary_key(table, column, sequence) if primary
          connection.execute("ALTER TABLE #{table} ALTER COLUMN #{column}#{SUFFIX} DROP NOT NULL") unless primary
        end

        def swap_primary_key(table, column, sequence)
          connection.execute(<<~SQL)
            ALTER TABLE #{table} DROP CONSTRAINT #{table}_pkey, ADD CONSTRAINT #{table}_pkey PRIMARY KEY (#{column});
            ALTER TABLE #{table} ALTER COLUMN #{column}#{SUFFIX} DROP NOT NULL;
          SQL
          return unless sequence

          connection.execute(<<~SQL)
            ALTER TABLE #{table} ALTER COLUMN #{column} SET DEFAULT nextval('#{sequence}'::regclass);
            ALTER SEQUENCE #{sequence} OWNED BY #{table}.#{column};
          SQL
        end

        def trigger_name(table, columns)
          "trigger_#{Digest::MD5.hexdigest(([table] + columns).join('/')).first(12)}"
        end
      end
    end
  end
end
