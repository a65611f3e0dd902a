// The way from the machine's loopback to a server in a namespace that no route leads to: every
// connection to 127.0.0.1:PORT is one to the server, bytes both ways as they come.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "base/address.h"
#include "base/result.h"

namespace cluster::processes {

class Relay {
 public:
  // Runs the work given to it where the server is, on a thread that is there until it returns:
  // Sandbox::inside() with a network namespace.
  using Inside = std::function<base::Result<>(const std::function<base::Result<>()>& work)>;

  // Listens on a free port of 127.0.0.1 where the caller is, and dials `server` inside. `inside`
  // must stay usable until the relay is destroyed. Errors: system.
  static base::Result<std::unique_ptr<Relay>> start(const base::Endpoint& server, Inside inside);

  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;
  // Ends every connection.
  ~Relay();

  [[nodiscard]] std::uint16_t port() const { return port_; }

 private:
  struct Work;
  Relay();

  std::unique_ptr<Work> work_;
  std::uint16_t port_ = 0;
};

}  // namespace cluster::processes
