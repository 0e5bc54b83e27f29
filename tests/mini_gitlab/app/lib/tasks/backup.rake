# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

namespace :gitlab do
  namespace :backup do
    desc 'GitLab | Backup | Create a backup of the GitLab system'
    task(create: :environment) { Backup::Manager.new.create }

    desc 'GitLab | Backup | Restore a previously created backup'
    task(restore: :environment) { Backup::Manager.new.restore }

    if MiniGitlab.since?(:backup_verify_task)
      desc 'GitLab | Backup | Verify a previously created backup'
      task(verify: :environment) { Backup::Manager.new.verify }
    end

    %w[db repositories uploads builds artifacts pages lfs terraform_state registry packages ci_secure_files external_diffs].each do |part|
      namespace(part == 'repositories' ? 'repo' : part) do
        task(create: :environment) { Backup::Manager.new.create_part(part) }
        task(restore: :environment) { Backup::Manager.new.restore_part(part) }
      end
    end
  end

  namespace :shell do
    desc 'GitLab | Shell | Setup gitlab-shell'
    task(setup: :environment) { Gitlab::AuthorizedKeys.rebuild }
  end
end

namespace :cache do
  desc 'GitLab | Cache | Clear redis cache'
  task(clear: :environment) do
    redis = Gitlab::ExclusiveLease.redis
    redis&.scan_each(match: 'cache:gitlab:*') { |key| redis.del(key) }
  end
end
