# SPDX-License-Identifier: GPL-3.0-or-later
# frozen_string_literal: true

module Gitlab
  module Database
    module EachBatch
      extend ActiveSupport::Concern

      class_methods do
        # Yields relations of `of` rows each, in the order of a column without
        # duplicates.
        def each_batch(of:, column: primary_key)
          attribute = arel_table[column]
          first = reorder(attribute.asc).select(column).take
          return unless first

          lower = first[column]
          index = 0
          while lower
            index += 1
            window = where(attribute.gteq(lower))
            following = window.reorder(attribute.asc).offset(of).limit(1).pluck(attribute).first
            yield following ? window.where(attribute.lt(following)) : window, index
            lower = following
          end
        end
      end
    end
  end
end
