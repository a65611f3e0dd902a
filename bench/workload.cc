// Ports and names of the workload kinds.
#include "bench/workload.h"

#include <algorithm>

namespace bench {
namespace {

constexpr std::uint16_t first_target_port = 7001;
constexpr std::uint16_t first_service_port = 8001;

}  // namespace

std::uint16_t target_port(WorkloadKind kind) {
  return static_cast<std::uint16_t>(first_target_port + static_cast<int>(kind));
}

std::uint16_t service_port(WorkloadKind kind) {
  return static_cast<std::uint16_t>(first_service_port + static_cast<int>(kind));
}

std::string port_name(WorkloadKind kind) {
  std::string name(base::enum_name(kind));
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

}  // namespace bench
