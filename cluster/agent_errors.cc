#include "cluster/agent_errors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace cluster {

// How much of an agent's stderr is kept.
constexpr off_t errors_kept = 64 << 10;

base::Result<base::UniqueFd> bounded_errors_file() {
  base::UniqueFd file(::memfd_create("stackbench-agent-stderr", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file) return base::system_error(errno, "memfd_create");
  if (::ftruncate(file.get(), errors_kept) < 0 ||
      ::fcntl(file.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK) < 0) {
    return base::system_error(errno, "an agent's stderr");
  }
  return file;
}

}  // namespace cluster
