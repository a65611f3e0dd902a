// Where an agent in a container is reached: a Unix socket in its own file system. Whoever may
// execute programs in the container may speak to it, and nobody else.
#pragma once

#include <string>

#include <sys/types.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"

namespace bench {

constexpr const char* default_agent_socket = "/run/stackbench/agent.sock";

class Listener {
 public:
  // Listens at `path`, with mode 0600, in a directory that exists. A socket that nobody listens on
  // any more (its agent was killed) is replaced, at once and whole: no connect meets one that is
  // not ready. Errors: missing (no such directory), input (the path is too long, something else is
  // there, or an agent that is alive), not_permitted, system.
  static base::Result<Listener> open(const std::string& path);

  Listener(Listener&&) noexcept = default;
  Listener& operator=(Listener&&) = delete;
  // Takes the socket's name away, if it still is ours.
  ~Listener();

  // Readable when somebody wants to connect.
  [[nodiscard]] int fd() const { return fd_.get(); }
  // The next connection, or an empty descriptor when there is none (any more). Errors: system.
  [[nodiscard]] base::Result<base::UniqueFd> accept() const;

 private:
  Listener(base::UniqueFd fd, std::string path, ino_t inode)
      : fd_(std::move(fd)), path_(std::move(path)), inode_(inode) {}

  base::UniqueFd fd_;
  std::string path_;
  ino_t inode_;
};

// Connects to an agent's socket, for which it waits until `deadline`. Errors: missing (no such
// directory), timed_out (no agent listens there), not_permitted, input (a path that is too long),
// system.
[[nodiscard]] base::Result<base::UniqueFd> connect_to_agent(const std::string& path,
                                                            base::MonotonicTime deadline);

}  // namespace bench
