// Which workloads can carry canaries (base/canary.h), and what that takes of their messages.
#pragma once

#include "base/canary.h"
#include "bench/workload.h"

namespace bench {

// The least bytes a request or a reply of it has where it carries a canary.
[[nodiscard]] constexpr base::Bytes canary_bytes(WorkloadKind kind) {
  return {base::canary_length + (is_http(kind) ? 0 : header_bytes)};
}
// Whether a workload of this kind can carry canaries: TCP, in the clear, and one request after
// another.
[[nodiscard]] constexpr bool can_carry_canaries(WorkloadKind kind) { return replies_by_tcp(kind); }

}  // namespace bench
