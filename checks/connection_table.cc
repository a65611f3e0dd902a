#include "checks/connection_table.h"

#include <string>
#include <vector>

#include <fmt/ranges.h>

#include "base/units.h"

namespace checks {

std::optional<ConnectionTableCounts> connection_table_of(const base::Json& facts) {
  const auto table = facts.find("connection_table");
  if (table == facts.end()) return std::nullopt;
  const auto count = [&](const char* name) { return table->value(name, std::uint64_t{0}); };
  return ConnectionTableCounts{.capacity = count("capacity"),
                               .made = count("made"),
                               .evicted = count("evicted"),
                               .misses = count("misses"),
                               .unplaced = count("unplaced")};
}

Finding connection_table(const std::optional<ConnectionTableCounts>& before,
                         const std::optional<ConnectionTableCounts>& after) {
  Finding finding;
  if (!before || !after) {
    finding.sentence = "cannot tell: no table of connections was there";
    return finding;
  }
  const auto made = after->made - before->made;
  const auto evicted = after->evicted - before->evicted;
  const auto misses = after->misses - before->misses;
  const auto unplaced = after->unplaced - before->unplaced;
  finding.evidence = {{"capacity", after->capacity},
                      {"made", made},
                      {"evicted", evicted},
                      {"misses", misses},
                      {"unplaced", unplaced}};
  const auto room = fmt::format("room for {} on each node", after->capacity);
  if (evicted + misses + unplaced == 0) {
    if (made == 0) {
      finding.sentence = fmt::format("cannot tell: no connection was made, with {}", room);
      return finding;
    }
    finding.verdict = base::Verdict::pass;
    finding.observed = "kept";
    finding.sentence =
        fmt::format("kept all of {}, with {}", base::format_count(made, "connection"), room);
    return finding;
  }
  std::vector<std::string> trouble;
  if (evicted > 0) {
    trouble.push_back(
        fmt::format("{} thrown out alive", base::format_count(evicted, "connection")));
  }
  if (misses > 0) {
    trouble.push_back(
        fmt::format("{} in mid-stream without an entry", base::format_count(misses, "packet")));
  }
  if (unplaced > 0) {
    trouble.push_back(
        fmt::format("{} dropped for want of room", base::format_count(unplaced, "packet")));
  }
  finding.verdict = base::Verdict::fail;
  finding.observed = "lost";
  finding.sentence = fmt::format("{}; {} made, with {}", fmt::join(trouble, ", "),
                                 base::format_count(made, "connection"), room);
  return finding;
}

}  // namespace checks
