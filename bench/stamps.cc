#include "bench/stamps.h"

namespace bench {

ClientResult on_our_clock(ClientResult result, base::Duration ahead) {
  result.start_ns -= ahead.count();
  result.end_ns -= ahead.count();
  for (auto& failure : result.failures) {
    failure.due_ns -= ahead.count();
    failure.begun_ns -= ahead.count();
    failure.ended_ns -= ahead.count();
  }
  for (auto& move : result.moves) move.at_ns -= ahead.count();
  for (auto& slice : result.answer_slices) {
    if (slice.last_ns != 0) slice.last_ns -= ahead.count();
    if (slice.gap_ended_ns != 0) slice.gap_ended_ns -= ahead.count();
  }
  return result;
}

ServerResult on_our_clock(ServerResult result, base::Duration ahead) {
  for (auto& at : result.arrivals_ns) at -= ahead.count();
  return result;
}

}  // namespace bench
