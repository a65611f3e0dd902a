#include "stackbench/connection_budget.h"

namespace stackbench {
namespace {

constexpr base::Duration rests_for = std::chrono::minutes(1);

}  // namespace

std::optional<base::MonotonicTime> ConnectionBudget::room_for(std::uint64_t count,
                                                              base::MonotonicTime now) const {
  if (count > per_minute_) return std::nullopt;
  std::uint64_t resting = 0;
  for (const auto& [at, made] : spent_) {
    if (at + rests_for > now) resting += made;
  }
  auto when = now;
  for (const auto& [at, made] : spent_) {
    if (resting + count <= per_minute_) break;
    if (at + rests_for <= now) continue;
    resting -= made;
    when = at + rests_for;
  }
  return when;
}

void ConnectionBudget::spend(std::uint64_t count, base::MonotonicTime at) {
  while (!spent_.empty() && spent_.front().first + rests_for <= at) spent_.pop_front();
  spent_.emplace_back(at, count);
}

}  // namespace stackbench
