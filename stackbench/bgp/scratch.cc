#include "stackbench/bgp/scratch.h"

#include <filesystem>

#include <fcntl.h>
#include <fmt/format.h>
#include <stdlib.h>
#include <sys/file.h>

namespace stackbench::bgp {
namespace {

namespace fs = std::filesystem;
using base::Result;
using base::UniqueFd;

constexpr std::string_view its_names = "stackbench-bgp-";
// Before the name of one that has no lock yet: no `clean` is to take it for a dead run's.
constexpr std::string_view being_made = ".being-made-";

// The lock, where no live run has it.
UniqueFd lock_if_free(const std::string& directory) {
  UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (fd && ::flock(fd.get(), LOCK_EX | LOCK_NB) < 0) fd.reset();
  return fd;
}

}  // namespace

Result<Scratch> Scratch::make() {
  std::error_code code;
  const auto parent = fs::temp_directory_path(code);
  if (code) return base::system_error(code.value(), "the directory for temporary files");
  auto fresh = (parent / fmt::format("{}{}XXXXXX", being_made, its_names)).string();
  if (::mkdtemp(fresh.data()) == nullptr) return base::system_error(errno, "mkdtemp {}", fresh);
  Scratch scratch(fresh, lock_if_free(fresh));
  if (!scratch.lock_) return base::system_error(errno, "lock {}", fresh);
  const auto name = fs::path(fresh).filename().string().substr(being_made.size());
  const auto path = (parent / name).string();
  if (::rename(fresh.c_str(), path.c_str()) < 0) return base::system_error(errno, "{}", path);
  scratch.path_ = path;
  return scratch;
}

Scratch::~Scratch() {
  std::error_code ignored;
  if (!path_.empty()) fs::remove_all(path_, ignored);
}

Result<std::vector<std::string>> clean_scratch(bool dry_run) {
  std::vector<std::string> found;
  std::error_code problem;
  const auto parent = fs::temp_directory_path(problem);
  if (problem) return found;  // where none can be made, none is
  for (fs::directory_iterator entry(parent, problem), end; !problem && entry != end;
       entry.increment(problem)) {
    const auto path = entry->path().string();
    if (!entry->path().filename().string().starts_with(its_names)) continue;
    const auto of_a_dead_run = lock_if_free(path);
    if (!of_a_dead_run) continue;
    found.push_back(fmt::format("what a run about BGP wrote: {}", path));
    std::error_code code;
    if (!dry_run) fs::remove_all(path, code);
    if (code) return base::system_error(code.value(), "remove {}", path);
  }
  if (problem) return base::system_error(problem.value(), "{}", parent.string());
  return found;
}

}  // namespace stackbench::bgp
