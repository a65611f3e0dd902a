// One HTTP/1.1 connection over a unix socket (RFC 9112), by the parser of Boost.Beast: requests one
// after another, and answers that go on for as long as a watch lasts. Every wait is ours, with a
// deadline and an interrupt; no thread of its own.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "cluster/kubernetes/until.h"

namespace cluster {

struct HttpRequest {
  std::string method = "GET";
  std::string target;  // "/api/v1/pods?limit=1"
  std::string content_type = {};
  std::string body = {};
};

struct HttpHead {
  int status = 0;
  std::string content_type = {};
  std::optional<int> retry_after_seconds = {};
};

// Connects to a unix socket. Errors: missing (no such socket, or nobody listens there), input (a
// path that is too long), not_permitted, system.
[[nodiscard]] base::Result<base::UniqueFd> connect_unix(const std::string& path);

// Belongs to one thread at a time. After an error it is of no further use.
class HttpConnection {
 public:
  // Errors: as connect_unix().
  static base::Result<HttpConnection> open(const std::string& socket_path);

  HttpConnection(HttpConnection&&) noexcept;
  HttpConnection& operator=(HttpConnection&&) noexcept;
  ~HttpConnection();

  // Writes the request. Errors: peer_lost, timed_out, interrupted, system.
  [[nodiscard]] base::Result<> send(const HttpRequest& request, const Until& until);
  // Waits for the beginning of the answer. Errors: as send(), and input (the peer does not speak
  // HTTP). peer_lost with nothing_came(): the connection had been closed while it was idle.
  [[nodiscard]] base::Result<HttpHead> receive_head(const Until& until);
  // Some more of the answer's body, at least a byte; nothing at its end. Errors: as above.
  [[nodiscard]] base::Result<std::optional<std::string>> receive_some(const Until& until);
  // All that is left of it. Errors: as above.
  [[nodiscard]] base::Result<std::string> receive_rest(const Until& until);

  // Whether not a byte of the present answer has come.
  [[nodiscard]] bool nothing_came() const;
  // Whether another request may follow the answer, which has ended.
  [[nodiscard]] bool reusable() const;

 private:
  struct State;
  explicit HttpConnection(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace cluster
