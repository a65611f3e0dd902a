#include "cluster/kubernetes/watch.h"

#include <utility>

#include "cluster/kubernetes/api_error.h"

namespace cluster {
namespace {

using base::ErrorKind;
using base::Json;
using base::Result;

constexpr int gone = 410;
// How many objects a list takes at once.
constexpr int page_size = 500;
// Before a watch that ended without a word is sent again, so that a server that ends each at once
// is not hammered.
constexpr base::Duration pause = std::chrono::milliseconds(50);

// Who wrote which field is most of an object's bytes, and nothing we look at.
Json without_ledger(Json object) {
  if (const auto metadata = object.find("metadata");
      metadata != object.end() && metadata->is_object()) {
    metadata->erase("managedFields");
  }
  return object;
}

}  // namespace

std::string object_key(const Json& object) {
  const auto in_namespace = text_at(object, {"metadata", "namespace"});
  const auto name = text_at(object, {"metadata", "name"});
  return in_namespace.empty() ? name : in_namespace + "/" + name;
}

std::string Watch::query() const {
  std::string text;
  if (!collection_.label_selector.empty()) {
    text += "&labelSelector=" + url_escape(collection_.label_selector);
  }
  if (!collection_.field_selector.empty()) {
    text += "&fieldSelector=" + url_escape(collection_.field_selector);
  }
  return text;
}

Result<> Watch::list() {
  ApiClient api(api_);
  Objects found;
  std::string more;
  do {
    auto path = fmt::format("{}?limit={}{}", collection_.path, page_size, query());
    if (!more.empty()) path += "&continue=" + url_escape(more);
    ASSIGN_OR_RETURN(Json page, api.get(path));
    if (auto items = page.find("items"); items != page.end() && items->is_array()) {
      for (auto& item : *items) {
        auto key = object_key(item);
        found.insert_or_assign(std::move(key), without_ledger(std::move(item)));
      }
    }
    version_ = text_at(page, {"metadata", "resourceVersion"});
    more = text_at(page, {"metadata", "continue"});
  } while (!more.empty());
  if (version_.empty()) {
    return base::fail(ErrorKind::input, "list {}: without a resourceVersion", collection_.path);
  }
  objects_ = std::move(found);
  seen_ns_ = base::monotonic_now().ns;
  ++lists_;
  return {};
}

Result<bool> Watch::open(const Until& until) {
  ASSIGN_OR_RETURN(auto opened, HttpConnection::open(api_.socket));
  connection_ = std::make_unique<HttpConnection>(std::move(opened));
  unread_.clear();
  const auto path = fmt::format("{}?watch=true&allowWatchBookmarks=true&resourceVersion={}{}",
                                collection_.path, version_, query());
  ++watches_;
  RETURN_IF_ERROR(connection_->send({.target = path}, until));
  ASSIGN_OR_RETURN(const auto head, connection_->receive_head(until));
  if (head.status == 200) return true;
  ASSIGN_OR_RETURN(const auto text, connection_->receive_rest(until));
  connection_.reset();
  if (head.status == gone) {
    version_.clear();
    return false;
  }
  if (head.status == 429 || head.status >= 500) {
    RETURN_IF_ERROR(let_pass(std::chrono::seconds(head.retry_after_seconds.value_or(1)), until));
    return false;
  }
  const auto body = base::parse_json(text);
  return std::unexpected(
      api_error("watch " + collection_.path, head.status, body ? *body : Json(text)));
}

Result<bool> Watch::take(const std::string& line) {
  ASSIGN_OR_RETURN(Json event, base::parse_json(line));
  const auto type = text_at(event, {"type"});
  const auto object = event.find("object");
  if (object == event.end()) {
    return base::fail(ErrorKind::input, "watch {}: an event without an object", collection_.path);
  }
  if (type == "ERROR") {
    // Expired, or a server that goes down: what is known may be too old.
    const auto& code = json_at(*object, {"code"});
    if (code.is_number_integer() && code.get<int>() == gone) version_.clear();
    return false;
  }
  seen_ns_ = base::monotonic_now().ns;
  version_ = text_at(*object, {"metadata", "resourceVersion"});
  if (type == "BOOKMARK") return true;
  auto key = object_key(*object);
  if (type == "DELETED") {
    objects_.erase(key);
  } else {
    objects_.insert_or_assign(std::move(key), without_ledger(std::move(*object)));
  }
  return true;
}

Result<bool> Watch::next(const Until& until) {
  while (true) {
    const auto newline = unread_.find('\n');
    if (newline != std::string::npos) {
      const auto line = unread_.substr(0, newline);
      unread_.erase(0, newline + 1);
      return take(line);
    }
    ASSIGN_OR_RETURN(const auto more, connection_->receive_some(until));
    if (!more) return false;
    unread_ += *more;
  }
}

Result<> Watch::until(const Condition& condition, base::MonotonicTime deadline) {
  const Until until{.deadline = deadline, .interrupt = api_.interrupt};
  while (true) {
    if (version_.empty()) {
      connection_.reset();
      RETURN_IF_ERROR(list());
    }
    ASSIGN_OR_RETURN(const bool holds, condition(objects_));
    if (holds) return {};
    if (until.passed()) return base::fail(ErrorKind::timed_out, "not in time");
    const bool was_open = connection_ != nullptr;
    auto going = was_open ? next(until) : open(until);
    if (!going && going.error().kind != ErrorKind::peer_lost) {
      connection_.reset();
      return std::unexpected(std::move(going).error());
    }
    if (going && *going) continue;
    // It ended, or was cut: it is resumed from the last version seen, or begun anew where the
    // server no longer has that.
    connection_.reset();
    RETURN_IF_ERROR(let_pass(pause, until));
  }
}

}  // namespace cluster
