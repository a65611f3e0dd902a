// A directory for what daemons and captures write, which goes with its run; and what runs that were
// killed left.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace stackbench::bgp {

// Removed with all that is in it when this goes. While its process lives it has a lock on it.
class Scratch {
 public:
  // Below the directory for temporary files. Errors: system.
  static base::Result<Scratch> make();
  Scratch(Scratch&& other) noexcept
      : path_(std::exchange(other.path_, {})), lock_(std::move(other.lock_)) {}
  Scratch& operator=(Scratch&&) = delete;
  ~Scratch();
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  Scratch(std::string path, base::UniqueFd lock) : path_(std::move(path)), lock_(std::move(lock)) {}
  std::string path_;
  base::UniqueFd lock_;
};

// Removes those whose run is dead; only names them when `dry_run`. Returns a line for each. Errors:
// system.
base::Result<std::vector<std::string>> clean_scratch(bool dry_run);

}  // namespace stackbench::bgp
