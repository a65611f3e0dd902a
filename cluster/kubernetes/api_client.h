// Requests to the API server by way of a unix socket (kubectl proxy), on a connection that is kept:
// a write costs one request and no handshake.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/interrupt.h"
#include "base/json.h"
#include "base/result.h"
#include "cluster/kubernetes/http_connection.h"

namespace cluster {

struct ApiOptions {
  std::string socket;
  base::Duration timeout = std::chrono::seconds(30);  // of a request, with all its tries
  const base::Interrupt* interrupt = nullptr;         // must outlive the client
};

struct ApiAnswer {
  int status = 0;
  base::Json body = {};      // a string where it was no JSON
  std::int64_t sent_ns = 0;  // CLOCK_MONOTONIC, around the try that was answered
  std::int64_t acked_ns = 0;
  int tries = 1;
  int retry_after_seconds = 0;  // what a server that is busy asks for

  [[nodiscard]] bool success() const { return status >= 200 && status < 300; }
  // metadata.resourceVersion of the object it holds; 0 where it holds none.
  [[nodiscard]] std::uint64_t resource_version() const;
};

// Belongs to one thread at a time.
class ApiClient {
 public:
  explicit ApiClient(ApiOptions options) : options_(std::move(options)) {}

  // One request, whatever the server answers. While the deadline allows, it is sent again where
  // nothing can have come of it or the server asks for that: a connection that was closed, 429 and
  // 5xx (after Retry-After, or a growing pause). So every request must be one that may be repeated.
  // Errors: missing (nobody listens at the socket), timed_out, interrupted, input (no HTTP).
  base::Result<ApiAnswer> request(const HttpRequest& request);

  // One try, for what may be refused and is not worth waiting for.
  base::Result<ApiAnswer> request_once(const HttpRequest& request);
  // As request(), and whatever is no success is an error, as api_error() says.
  base::Result<ApiAnswer> checked(const HttpRequest& request);
  base::Result<base::Json> get(const std::string& path);
  // Nothing where there is none.
  base::Result<std::optional<base::Json>> find(const std::string& path);
  // Server-side apply under our field manager; what others wrote to our fields is overwritten.
  base::Result<ApiAnswer> apply(const std::string& path, const base::Json& object);
  // A strategic merge patch: lists with keys, such as conditions, are merged.
  base::Result<ApiAnswer> patch(const std::string& path, const base::Json& change);
  // Deletes an object or a collection. One that is not there is no error.
  base::Result<ApiAnswer> remove(const std::string& path);

  [[nodiscard]] const ApiOptions& options() const { return options_; }
  // Tries so far.
  [[nodiscard]] std::uint64_t requests() const { return requests_; }

 private:
  base::Result<ApiAnswer> attempt(const HttpRequest& request, const Until& until);

  ApiOptions options_;
  std::optional<HttpConnection> connection_;
  std::uint64_t requests_ = 0;
};

// A string as a value in a URL's query: "a=b" becomes "a%3Db".
[[nodiscard]] std::string url_escape(std::string_view text);

inline constexpr std::string_view field_manager = "stackbench";

}  // namespace cluster
