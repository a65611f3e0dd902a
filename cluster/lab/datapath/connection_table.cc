#include "cluster/lab/datapath/connection_table.h"

#include "base/bpf/bpf.h"

namespace cluster {

static_assert(sizeof(ConnectionTuple) == 40);
static_assert(sizeof(Connection) == 104);
static_assert(sizeof(ConnectionPlace) == 8);
static_assert(sizeof(ConnectionCounters) == 64);

base::Result<ConnectionCounters> read_connection_counters(int counters) {
  ASSIGN_OR_RETURN(const auto per_cpu, base::read_per_cpu<ConnectionCounters>(
                                           counters, "read the counters of a connection table"));
  ConnectionCounters sum{};
  for (const auto& cpu : per_cpu) add(sum, cpu);
  return sum;
}

void add(ConnectionCounters& sum, const ConnectionCounters& counters) {
  sum.made += counters.made;
  sum.aged += counters.aged;
  sum.evicted += counters.evicted;
  sum.moved += counters.moved;
  sum.misses += counters.misses;
  sum.unplaced += counters.unplaced;
  sum.fragments += counters.fragments;
  sum.refused += counters.refused;
}

base::Json to_facts(const ConnectionCounters& counters) {
  return {{"made", counters.made},           {"aged", counters.aged},
          {"evicted", counters.evicted},     {"moved", counters.moved},
          {"misses", counters.misses},       {"unplaced", counters.unplaced},
          {"fragments", counters.fragments}, {"refused", counters.refused}};
}

std::int64_t connection_table_bytes(std::uint32_t connections) {
  constexpr std::int64_t two_keys = 2 * (sizeof(ConnectionTuple) + sizeof(ConnectionPlace));
  return static_cast<std::int64_t>(connections) * (std::int64_t{sizeof(Connection)} + two_keys);
}

}  // namespace cluster
