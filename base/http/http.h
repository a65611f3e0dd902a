// One HTTP/1.1 request and its response (RFC 9112), by Boost.Beast; URLs by Boost.URL (RFC 3986).
#pragma once

#include <string>

#include "base/clock.h"
#include "base/result.h"

namespace base::http {

struct Request {
  std::string method;  // "PUT"
  std::string url;     // "http://host:9091/path"; only http, and without a user
  std::string content_type = {};
  std::string body = {};
};

struct Response {
  int status = 0;    // whatever the server said
  std::string body;  // of at most 1 MiB
};

// Whether exchange() can take this URL. Errors: input, as there.
[[nodiscard]] Result<> check_url(const std::string& url);

// Sends the request on a connection of its own and takes the response, all within `timeout` (a
// name server that is silent has its own). Any thread. Errors: input (a URL that is none, or of
// another scheme, or names a user), system (no such host, connection refused, not HTTP, a body that
// is too long), timed_out.
[[nodiscard]] Result<Response> exchange(const Request& request, Duration timeout);

// The same with a server on a unix socket, whatever host the URL names. Errors: as exchange().
[[nodiscard]] Result<Response> exchange_at(const std::string& socket, const Request& request,
                                           Duration timeout);

}  // namespace base::http
