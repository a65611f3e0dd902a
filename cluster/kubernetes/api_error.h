// What an API server's refusal means to us.
#pragma once

#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "base/json.h"
#include "base/result.h"

namespace cluster {

// The error of an answer whose status is no success. `what` is the request: "GET
// /api/v1/nodes"; `body` is a meta/v1 Status, or a string where the answer was no JSON (kubectl
// proxy, when it does not reach the server). 401 and 403 become not_permitted, with the verb and
// the resource in the message; 404 missing; 400 and 422 input; the rest system.
[[nodiscard]] base::Error api_error(const std::string& what, int status, const base::Json& body);

// Status.message, or what stands in its place.
[[nodiscard]] std::string status_message(const base::Json& body);

// Status.details.retryAfterSeconds; 0 where nothing is said.
[[nodiscard]] int status_retry_after(const base::Json& body);

// The value at a path of keys, or null: json_at(pod, {"status", "phase"}).
[[nodiscard]] const base::Json& json_at(const base::Json& json,
                                        std::initializer_list<std::string_view> path);
// The same as text; empty where it is none.
[[nodiscard]] std::string text_at(const base::Json& json,
                                  std::initializer_list<std::string_view> path);
// metadata.labels of an object.
[[nodiscard]] std::map<std::string, std::string> object_labels(const base::Json& object);

// Of an object of our own: that it is gone is nothing the cluster lacks (missing), but an error.
template <typename T>
[[nodiscard]] base::Result<T> of_ours(base::Result<T> result) {
  if (result || result.error().kind != base::ErrorKind::missing) return result;
  auto error = std::move(result).error();
  error.kind = base::ErrorKind::system;
  error.mend = "Something deleted what this run made; see who did, and run it again.";
  return std::unexpected(std::move(error));
}

}  // namespace cluster
