// A collection of objects as it is now: listed once, then followed event by event, so that a
// condition is waited for by watching and never by asking again.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/json.h"
#include "base/result.h"
#include "cluster/kubernetes/api_client.h"
#include "cluster/kubernetes/until.h"

namespace cluster {

struct Collection {
  std::string path;  // "/api/v1/namespaces/it/pods"
  std::string label_selector = {};
  std::string field_selector = {};
};

// By namespace and name ("it/web-0"), or by name where there is no namespace.
using Objects = std::map<std::string, base::Json, std::less<>>;

// Lists and watches on connections of its own. Belongs to one thread at a time.
class Watch {
 public:
  Watch(ApiOptions api, Collection collection)
      : api_(std::move(api)), collection_(std::move(collection)) {}

  // Asked of the objects after the list and after every event. True ends the wait; an error does,
  // too, and becomes the wait's.
  using Condition = std::function<base::Result<bool>(const Objects&)>;

  // Waits until `condition` holds, or the deadline. A watch that drops is resumed where it was; one
  // the server has forgotten (410 Gone) begins with a new list. A watch may be waited on again.
  // Errors: the condition's, timed_out, interrupted, and as ApiClient::checked().
  base::Result<> until(const Condition& condition, base::MonotonicTime deadline);

  // As they were when the last wait ended.
  [[nodiscard]] const Objects& objects() const { return objects_; }
  // CLOCK_MONOTONIC when the last event, or list, was read.
  [[nodiscard]] std::int64_t seen_ns() const { return seen_ns_; }
  // For tests and facts.
  [[nodiscard]] int lists() const { return lists_; }
  [[nodiscard]] int watches() const { return watches_; }

 private:
  base::Result<> list();
  // Sends the watch. True once it is answered; false where a list has to come first.
  base::Result<bool> open(const Until& until);
  // Waits for the next event and takes it. False where the watch has ended.
  base::Result<bool> next(const Until& until);
  // False on an event that says the watch is over.
  base::Result<bool> take(const std::string& line);
  [[nodiscard]] std::string query() const;

  ApiOptions api_;
  Collection collection_;
  Objects objects_;
  std::string version_;  // resourceVersion that all of it is of; empty: nothing is known
  std::unique_ptr<HttpConnection> connection_;
  std::string unread_;  // of the watch: not yet a line
  std::int64_t seen_ns_ = 0;
  int lists_ = 0;
  int watches_ = 0;
};

// The key of an object in Objects.
[[nodiscard]] std::string object_key(const base::Json& object);

}  // namespace cluster
