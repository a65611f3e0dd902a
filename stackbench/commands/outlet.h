// Standard output for a command that must not wait for its reader: what it does not take yet is
// kept, and the caller polls for it together with all else it waits for.
#pragma once

#include <string>
#include <string_view>

#include <poll.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"

namespace stackbench {

// One thread.
class Outlet {
 public:
  // `fd` stays the caller's and as it is: others have the same open file, and are not to find it
  // non-blocking.
  explicit Outlet(int fd);

  void add(std::string_view text) { waiting_ += text; }
  // Bytes that the reader has not taken.
  [[nodiscard]] std::size_t waiting() const { return waiting_.size(); }
  // For poll(2): tells that the reader takes more, or is gone.
  [[nodiscard]] pollfd watched() const;
  // Writes what the reader takes now. Errors: system, when it is gone or cannot store it.
  base::Result<> push();
  // The same until all is written, for at most that long or until `interrupt_fd` is readable.
  base::Result<> finish(base::Duration patience, int interrupt_fd = -1);

 private:
  [[nodiscard]] int fd() const { return own_ ? own_.get() : fd_; }

  int fd_;
  base::UniqueFd own_;
  std::string waiting_;
};

}  // namespace stackbench
