#include "cluster/kubernetes/testing/fake_store.h"

#include <algorithm>

#include "cluster/kubernetes/api_error.h"

namespace cluster::testing {
namespace {

using base::Json;

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  while (begin <= text.size()) {
    const auto end = std::min(text.find(at, begin), text.size());
    if (end > begin) parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

bool has_label(const Json& object, const std::string& name) {
  return !json_at(object, {"metadata", "labels", name}).is_null();
}

Json condition(const std::string& type, const std::string& status) {
  return {{"type", type}, {"status", status}};
}

// A list with keys, as a strategic merge patch takes conditions.
void merge_conditions(Json& into, const Json& patch) {
  if (!into.is_array()) into = Json::array();
  for (const auto& one : patch) {
    const auto found =
        std::ranges::find_if(into, [&](const Json& there) { return there["type"] == one["type"]; });
    if (found == into.end()) {
      into.push_back(one);
    } else {
      found->merge_patch(one);
    }
  }
}

bool condition_holds(const Json& pod, std::string_view type) {
  const auto& all = json_at(pod, {"status", "conditions"});
  return all.is_array() && std::ranges::any_of(all, [&](const Json& one) {
           return text_at(one, {"type"}) == type && text_at(one, {"status"}) == "True";
         });
}

}  // namespace

ResourcePath ResourcePath::parse(const std::string& path) {
  auto parts = split(path, '/');
  ResourcePath parsed;
  std::size_t at = parts.size() > 1 && parts[0] == "apis" ? 3 : 2;
  at = std::min(at, parts.size());
  for (std::size_t i = 0; i < at; ++i) parsed.group += "/" + parts[i];
  const auto left = [&] { return parts.size() - at; };
  // "namespaces/it" alone is the namespace itself.
  if (left() > 2 && parts[at] == "namespaces") {
    parsed.in_namespace = parts[at + 1];
    at += 2;
  }
  if (left() > 0) parsed.resource = parts[at++];
  if (left() > 0) parsed.name = parts[at++];
  if (left() > 0) parsed.subresource = parts[at];
  return parsed;
}

std::string ResourcePath::key() const {
  return fmt::format("{}/{}/{}/{}", group, in_namespace, resource, name);
}

bool ResourcePath::holds(const ResourcePath& other) const {
  return group == other.group && resource == other.resource &&
         (in_namespace.empty() || in_namespace == other.in_namespace) &&
         (name.empty() || name == other.name);
}

bool fits(const Json& object, const std::string& labels, const std::string& fields) {
  for (const auto& term : split(labels, ',')) {
    const auto equals = term.find('=');
    if (equals != std::string::npos) {
      const auto name = term.substr(0, equals);
      if (text_at(object, {"metadata", "labels", name}) != term.substr(equals + 1)) return false;
    } else if (term.starts_with('!') ? has_label(object, term.substr(1))
                                     : !has_label(object, term)) {
      return false;
    }
  }
  constexpr std::string_view by_name = "metadata.name=";
  return !fields.starts_with(by_name) ||
         text_at(object, {"metadata", "name"}) == fields.substr(by_name.size());
}

Json FakeStore::store(const ResourcePath& path, Json object) {
  const bool known = objects_.contains(path.key());
  object["metadata"]["resourceVersion"] = std::to_string(++version_);
  events_.push_back({version_, known ? "MODIFIED" : "ADDED", path, object});
  objects_[path.key()] = {path, object};
  changed_.notify_all();
  return object;
}

void FakeStore::erase(const ResourcePath& path) {
  const auto found = objects_.find(path.key());
  if (found == objects_.end()) return;
  auto last = std::move(found->second.second);
  objects_.erase(found);
  last["metadata"]["resourceVersion"] = std::to_string(++version_);
  events_.push_back({version_, "DELETED", path, std::move(last)});
  changed_.notify_all();
}

Json FakeStore::apply(const ResourcePath& path, const Json& object) {
  const std::lock_guard lock(mutex_);
  auto own = path;
  own.subresource.clear();
  Json merged = objects_.contains(own.key()) ? objects_.at(own.key()).second : Json::object();
  const bool fresh = merged.empty();
  merged.merge_patch(object);
  merged["metadata"]["name"] = own.name;
  if (!own.in_namespace.empty()) merged["metadata"]["namespace"] = own.in_namespace;
  if (own.resource == "pods" && fresh) start_pod(merged);
  if (own.resource == "services") admit_service(merged);
  auto stored = store(own, std::move(merged));
  after_write(own);
  return stored;
}

Json FakeStore::patch_status(const ResourcePath& path, const Json& patch) {
  const std::lock_guard lock(mutex_);
  auto own = path;
  own.subresource.clear();
  const auto found = objects_.find(own.key());
  if (found == objects_.end()) return {};
  Json changed = found->second.second;
  merge_conditions(changed["status"]["conditions"], json_at(patch, {"status", "conditions"}));
  follow_readiness(changed);
  auto stored = store(own, std::move(changed));
  after_write(own);
  return stored;
}

void FakeStore::after_write(const ResourcePath& path) {
  if (path.resource == "namespaces") {
    store({.group = "/api/v1",
           .in_namespace = path.name,
           .resource = "serviceaccounts",
           .name = "default"},
          {{"metadata", {{"name", "default"}, {"namespace", path.name}}}});
  }
  if (path.resource == "pods" || path.resource == "services") write_slices(path.in_namespace);
}

void FakeStore::start_pod(Json& pod) {
  const auto there = objects_.find("/api/v1/namespaces/" + text_at(pod, {"metadata", "namespace"}));
  const bool refused =
      there != objects_.end() &&
      text_at(there->second.second, {"metadata", "labels", "istio-injection"}) == "disabled";
  if (injects_proxies_ && !refused &&
      text_at(pod, {"metadata", "labels", "sidecar.istio.io/inject"}) == "true") {
    pod["spec"]["initContainers"] = Json::array({{{"name", "istio-proxy"}}});
  }
  auto& status = pod["status"];
  status["conditions"] = Json::array();
  const auto waiting = [&](const std::string& reason, const std::string& message) {
    status["phase"] = "Pending";
    status["containerStatuses"] =
        Json::array({{{"state", {{"waiting", {{"reason", reason}, {"message", message}}}}}}});
  };
  switch (fate_) {
    case PodFate::image_missing:
      return waiting("ErrImageNeverPull", "Container image is not present");
    case PodFate::stays_pending:
      return waiting("ContainerCreating", "");
    case PodFate::unschedulable:
      status["phase"] = "Pending";
      status["conditions"].push_back({{"type", "PodScheduled"},
                                      {"status", "False"},
                                      {"reason", "Unschedulable"},
                                      {"message", "0/2 nodes are available: 2 Insufficient cpu"}});
      return;
    case PodFate::runs:
      break;
  }
  ++addresses_;
  pod["metadata"]["uid"] = fmt::format("uid-{}", addresses_);
  const auto ipv4 = fmt::format("10.244.0.{}", addresses_);
  const auto ipv6 = fmt::format("fd00:10:244::{:x}", addresses_);
  status["phase"] = "Running";
  status["podIP"] = ipv4;
  status["podIPs"] = Json::array({{{"ip", ipv4}}, {{"ip", ipv6}}});
  status["containerStatuses"] =
      Json::array({{{"state", {{"running", {{"startedAt", "2024-01-01T00:00:00Z"}}}}}}});
  follow_readiness(pod);
}

// As a kubelet: Ready holds where every gate's condition does.
void FakeStore::follow_readiness(Json& pod) const {
  if (!follows_readiness_ || text_at(pod, {"status", "phase"}) != "Running") return;
  bool ready = true;
  for (const auto& gate : json_at(pod, {"spec", "readinessGates"})) {
    ready = ready && condition_holds(pod, text_at(gate, {"conditionType"}));
  }
  merge_conditions(pod["status"]["conditions"],
                   Json::array({condition("Ready", ready ? "True" : "False")}));
}

void FakeStore::admit_service(Json& service) {
  auto& spec = service["spec"];
  if (!spec.contains("clusterIPs")) {
    ++addresses_;
    spec["clusterIPs"] = {fmt::format("10.96.0.{}", addresses_),
                          fmt::format("fd00:10:96::{:x}", addresses_)};
    if (text_at(spec, {"ipFamilyPolicy"}) == "SingleStack") spec["clusterIPs"].erase(1);
  }
  const auto type = text_at(spec, {"type"});
  if (type == "ClusterIP") return;
  for (auto& port : spec["ports"]) {
    if (!port.contains("nodePort")) port["nodePort"] = 30000 + ++addresses_;
  }
  if (type == "LoadBalancer" && balancer_) {
    service["status"]["loadBalancer"]["ingress"] =
        Json::array({{{"ip", fmt::format("172.20.0.{}", ++addresses_)}}});
  }
}

// As the EndpointSlice controller, for every Service of the namespace with a selector.
void FakeStore::write_slices(const std::string& in_namespace) {
  const auto objects = objects_;
  for (const auto& [key, service] : objects) {
    if (service.first.resource != "services" || service.first.in_namespace != in_namespace)
      continue;
    const auto& selector = json_at(service.second, {"spec", "selector"});
    if (!selector.is_object()) continue;
    std::string labels;
    for (const auto& [name, value] : selector.items()) {
      labels += fmt::format("{}={},", name, value.get<std::string>());
    }
    for (const std::size_t family : {0U, 1U}) {
      Json endpoints = Json::array();
      for (const auto& [other, pod] : objects) {
        if (pod.first.resource != "pods" || !fits(pod.second, labels, "")) continue;
        const auto& addresses = json_at(pod.second, {"status", "podIPs"});
        if (pod.first.in_namespace != in_namespace || !addresses.is_array()) continue;
        endpoints.push_back({{"addresses", {addresses[family]["ip"]}},
                             {"conditions", {{"ready", condition_holds(pod.second, "Ready")}}}});
      }
      const auto name = service.first.name + (family == 0 ? "-v4" : "-v6");
      Json slice = {{"metadata",
                     {{"name", name},
                      {"namespace", in_namespace},
                      {"labels", json_at(service.second, {"metadata", "labels"})}}},
                    {"endpoints", std::move(endpoints)}};
      slice["metadata"]["labels"]["kubernetes.io/service-name"] = service.first.name;
      slice["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"] =
          "endpointslice-controller.k8s.io";
      store({.group = "/apis/discovery.k8s.io/v1",
             .in_namespace = in_namespace,
             .resource = "endpointslices",
             .name = name},
            std::move(slice));
    }
  }
}

bool FakeStore::remove(const ResourcePath& path) {
  const std::lock_guard lock(mutex_);
  if (!objects_.contains(path.key())) return false;
  if (path.resource == "namespaces") {
    const auto objects = objects_;
    for (const auto& [key, entry] : objects) {
      if (entry.first.in_namespace == path.name) erase(entry.first);
    }
  }
  erase(path);
  if (path.resource == "pods") write_slices(path.in_namespace);
  return true;
}

void FakeStore::remove_collection(const ResourcePath& path, const std::string& labels) {
  const std::lock_guard lock(mutex_);
  const auto objects = objects_;
  for (const auto& [key, entry] : objects) {
    if (path.holds(entry.first) && fits(entry.second, labels, "")) erase(entry.first);
  }
}

Json FakeStore::find(const ResourcePath& path) const {
  const std::lock_guard lock(mutex_);
  auto own = path;
  own.subresource.clear();
  const auto found = objects_.find(own.key());
  return found == objects_.end() ? Json() : found->second.second;
}

Json FakeStore::list(const ResourcePath& path, const std::string& labels,
                     const std::string& fields) const {
  const std::lock_guard lock(mutex_);
  Json items = Json::array();
  for (const auto& [key, entry] : objects_) {
    if (path.holds(entry.first) && fits(entry.second, labels, fields))
      items.push_back(entry.second);
  }
  return {{"kind", "List"},
          {"metadata", {{"resourceVersion", std::to_string(version_)}}},
          {"items", std::move(items)}};
}

std::optional<std::vector<StoreEvent>> FakeStore::events_after(std::uint64_t version, bool& gone) {
  std::unique_lock lock(mutex_);
  const auto drops = drops_;
  gone = version < forgotten_;
  if (gone) return std::nullopt;
  changed_.wait(lock, [&] {
    return stopped_ || drops_ != drops || (!events_.empty() && events_.back().version > version);
  });
  if (stopped_ || drops_ != drops) return std::nullopt;
  std::vector<StoreEvent> later;
  for (const auto& event : events_) {
    if (event.version > version) later.push_back(event);
  }
  return later;
}

void FakeStore::drop_watches() {
  const std::lock_guard lock(mutex_);
  ++drops_;
  changed_.notify_all();
}

void FakeStore::forget_history() {
  const std::lock_guard lock(mutex_);
  forgotten_ = ++version_;
}

void FakeStore::stop() {
  const std::lock_guard lock(mutex_);
  stopped_ = true;
  changed_.notify_all();
}

void FakeStore::set_pod_fate(PodFate fate) {
  const std::lock_guard lock(mutex_);
  fate_ = fate;
}

void FakeStore::set_balancer(bool there) {
  const std::lock_guard lock(mutex_);
  balancer_ = there;
}

void FakeStore::set_injects_proxies(bool injects) {
  const std::lock_guard lock(mutex_);
  injects_proxies_ = injects;
}

void FakeStore::set_follows_readiness(bool follows) {
  const std::lock_guard lock(mutex_);
  follows_readiness_ = follows;
}

}  // namespace cluster::testing
