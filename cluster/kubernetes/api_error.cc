#include "cluster/kubernetes/api_error.h"

namespace cluster {

using base::Error;
using base::ErrorKind;
using base::Json;

const Json& json_at(const Json& json, std::initializer_list<std::string_view> path) {
  static const Json nothing;
  const Json* at = &json;
  for (const auto key : path) {
    if (!at->is_object()) return nothing;
    const auto found = at->find(key);
    if (found == at->end()) return nothing;
    at = &*found;
  }
  return *at;
}

std::string text_at(const Json& json, std::initializer_list<std::string_view> path) {
  const auto& found = json_at(json, path);
  return found.is_string() ? found.get<std::string>() : std::string();
}

std::string status_message(const Json& body) {
  std::string text = body.is_string() ? body.get<std::string>() : text_at(body, {"message"});
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text.empty() ? "no reason given" : text;
}

int status_retry_after(const Json& body) {
  const auto& seconds = json_at(body, {"details", "retryAfterSeconds"});
  return seconds.is_number_integer() ? seconds.get<int>() : 0;
}

std::map<std::string, std::string> object_labels(const Json& object) {
  std::map<std::string, std::string> labels;
  const auto& all = json_at(object, {"metadata", "labels"});
  if (!all.is_object()) return labels;
  for (const auto& [name, value] : all.items()) {
    if (value.is_string()) labels[name] = value.get<std::string>();
  }
  return labels;
}

Error api_error(const std::string& what, int status, const Json& body) {
  Error error{.message = fmt::format("{}: {}", what, status_message(body))};
  switch (status) {
    case 401:
      error.kind = ErrorKind::not_permitted;
      error.mend =
          "The cluster does not know these credentials. Does kubectl get pods work with the same "
          "context?";
      break;
    case 403:
      error.kind = ErrorKind::not_permitted;
      error.mend =
          "Ask whoever runs the cluster for this right; kubectl auth can-i --list shows those you "
          "have.";
      break;
    case 404:
      error.kind = ErrorKind::missing;
      break;
    case 400:
    case 422:
      error.kind = ErrorKind::input;
      break;
    default:
      error.kind = ErrorKind::system;
      error.message = fmt::format("{} (HTTP {})", error.message, status);
      // kubectl proxy's own words, not a Status: it did not reach the server.
      if (body.is_string() && status >= 500) {
        error.message =
            fmt::format("{}: the API server was not reached: {}", what, status_message(body));
        // Where kubectl looks that has been told of no cluster at all.
        const bool none_named = error.message.find("127.0.0.1:8080") != std::string::npos ||
                                error.message.find("[::1]:8080") != std::string::npos;
        error.mend = none_named
                         ? "Name a kubeconfig: --kubeconfig FILE, or export KUBECONFIG=FILE; "
                           "stackbench status shows those of its own clusters."
                         : "Is the cluster up? kubectl cluster-info with the same context "
                           "tells.";
      }
      break;
  }
  return error;
}

}  // namespace cluster
