#include "cluster/kubernetes/cleanup.h"

#include <algorithm>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "cluster/kubernetes/api_error.h"
#include "cluster/kubernetes/lost_pods.h"
#include "cluster/kubernetes/watch.h"

namespace cluster {
namespace {

using base::ErrorKind;
using base::Json;
using base::Result;

// A pod has a grace period of a second; the rest is finalizers', and thousands of Services.
constexpr base::Duration patience = std::chrono::minutes(2);

// How often a wait for that looks whether it can come true: a node may be gone.
constexpr base::Duration looks_every = std::chrono::seconds(2);

constexpr int not_allowed = 405;  // older API servers delete no collection of Services

// Jobs first: they would miss their pods.
std::vector<std::string> collections_of(const Placement& place) {
  std::vector<std::string> paths;
  if (place.has_jobs) paths.push_back(jobs_path(place));
  if (place.has_policies) paths.push_back(policies_path(place));
  for (auto path : {pods_path(place), services_path(place), slices_path(place)}) {
    paths.push_back(std::move(path));
  }
  return paths;
}

Result<> delete_one_by_one(ApiClient& api, const std::string& path, const std::string& selector) {
  ASSIGN_OR_RETURN(const auto list, api.get(path + "?labelSelector=" + selector));
  const auto& items = json_at(list, {"items"});
  if (!items.is_array()) return {};
  for (const auto& item : items) {
    RETURN_IF_ERROR(api.remove(path + "/" + text_at(item, {"metadata", "name"})));
  }
  return {};
}

Result<> delete_collection(ApiClient& api, const std::string& path, const std::string& selector) {
  const HttpRequest request{.method = "DELETE",
                            .target = path + "?labelSelector=" + selector,
                            .content_type = "application/json",
                            .body = R"({"kind":"DeleteOptions","apiVersion":"v1",)"
                                    R"("propagationPolicy":"Background"})"};
  ASSIGN_OR_RETURN(const auto answer, api.request(request));
  if (answer.status == not_allowed) return delete_one_by_one(api, path, selector);
  if (answer.success() || answer.status == 404) return {};
  return std::unexpected(api_error("DELETE " + path, answer.status, answer.body));
}

// What still stands in the way, for the error.
std::string holders_of(const Objects& left) {
  std::string text;
  for (const auto& [name, object] : left) {
    const auto& finalizers = json_at(object, {"metadata", "finalizers"});
    text += fmt::format("{}{}{}", text.empty() ? "" : ", ", name,
                        finalizers.is_array() && !finalizers.empty()
                            ? " (finalizers " + base::dump_json(finalizers) + ")"
                            : "");
    const auto& conditions = json_at(object, {"status", "conditions"});
    if (!conditions.is_array()) continue;
    // A namespace says what is left in it.
    for (const auto& condition : conditions) {
      if (text_at(condition, {"status"}) == "True") text += " " + text_at(condition, {"message"});
    }
  }
  return text;
}

Result<> await_none(const ApiOptions& api, const Collection& collection, LostPods& lost,
                    base::MonotonicTime deadline) {
  Watch watch(api, collection);
  ApiClient client(api);
  while (base::monotonic_now() < deadline) {
    auto gone = watch.until([](const Objects& left) -> Result<bool> { return left.empty(); },
                            std::min(deadline, base::monotonic_now() + looks_every));
    if (gone) return {};
    if (gone.error().kind != ErrorKind::timed_out) return gone;
    RETURN_IF_ERROR(lost.remove(client));
  }
  return base::fail_with_mend(
      ErrorKind::timed_out,
      fmt::format("deleted, but still there after {} s: {}",
                  std::chrono::duration_cast<std::chrono::seconds>(patience).count(),
                  holders_of(watch.objects())),
      "It may yet go. A finalizer waits for its controller: is that running?");
}

}  // namespace

Result<> delete_objects(ApiClient& api, const Placement& place) {
  const auto selector = url_escape(environment_selector(place));
  if (place.own_namespace) {
    RETURN_IF_ERROR(api.remove("/api/v1/namespaces/" + place.in_namespace));
    // Its controller waits for five seconds before it begins with what is in it (so that every API
    // server knows that it goes), and would then wait for the pods. Whoever may not, waits.
    std::ignore = delete_collection(api, pods_path(place), selector);
    return {};
  }
  Result<> outcome;
  for (const auto& path : collections_of(place)) {
    auto deleted = delete_collection(api, path, selector);
    if (outcome) outcome = std::move(deleted);
  }
  return outcome;
}

base::MonotonicTime removal_deadline() { return base::monotonic_now() + patience; }

Result<> await_removal(const ApiOptions& api, const Placement& place,
                       base::MonotonicTime deadline) {
  LostPods lost(place);
  if (place.own_namespace) {
    return await_none(
        api,
        {.path = "/api/v1/namespaces", .field_selector = "metadata.name=" + place.in_namespace},
        lost, deadline);
  }
  for (const auto& path : collections_of(place)) {
    RETURN_IF_ERROR(await_none(api, {.path = path, .label_selector = environment_selector(place)},
                               lost, deadline));
  }
  return {};
}

Result<> remove_objects(const ApiOptions& api, const Placement& place) {
  ApiClient client(api);
  RETURN_IF_ERROR(delete_objects(client, place));
  return await_removal(api, place, removal_deadline());
}

Result<> remove_objects(const ApiOptions& api, const std::vector<Placement>& places) {
  ApiClient client(api);
  Result<> outcome;
  const auto note = [&](Result<> done) {
    if (outcome) outcome = std::move(done);
  };
  for (const auto& place : places) note(delete_objects(client, place));
  const auto deadline = removal_deadline();
  for (const auto& place : places) note(await_removal(api, place, deadline));
  return outcome;
}

}  // namespace cluster
