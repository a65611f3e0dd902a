#include "stackbench/verify/manifests.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <utility>

#include "base/diagnostics.h"
#include "checks/policy/oracle.h"
#include "stackbench/scenario/read.h"
#include "stackbench/verify/manifest_kinds.h"

namespace stackbench {
namespace {

using base::ErrorKind;
using base::Json;
using base::Result;

// Kinds that make no pods and say nothing of who may reach whom.
constexpr std::array<std::string_view, 29> harmless{"APIService",
                                                    "Certificate",
                                                    "ClusterRole",
                                                    "ClusterRoleBinding",
                                                    "ConfigMap",
                                                    "CustomResourceDefinition",
                                                    "Endpoints",
                                                    "EndpointSlice",
                                                    "Gateway",
                                                    "HTTPRoute",
                                                    "HorizontalPodAutoscaler",
                                                    "Ingress",
                                                    "IngressClass",
                                                    "Kustomization",
                                                    "LimitRange",
                                                    "MutatingWebhookConfiguration",
                                                    "PersistentVolume",
                                                    "PersistentVolumeClaim",
                                                    "PodDisruptionBudget",
                                                    "PodMonitor",
                                                    "PriorityClass",
                                                    "ResourceQuota",
                                                    "Role",
                                                    "RoleBinding",
                                                    "Secret",
                                                    "Service",
                                                    "ServiceAccount",
                                                    "ServiceMonitor",
                                                    "StorageClass"};

// Fields with nothing in them are fields that are not there, as the API server takes them.
void drop_nothings(YamlNode& node) {
  std::erase_if(node.entries, [](const YamlEntry& entry) { return entry.value.is_nothing(); });
  for (auto& entry : node.entries) drop_nothings(entry.value);
  for (auto& item : node.items) drop_nothings(item);
}

const YamlNode* at(const YamlNode& node, std::initializer_list<std::string_view> path) {
  const auto* found = &node;
  for (const auto name : path) {
    const auto* entry = found->find(name);
    if (entry == nullptr) return nullptr;
    found = &entry->value;
  }
  return found;
}

std::string text_at(const YamlNode& node, std::initializer_list<std::string_view> path) {
  const auto* found = at(node, path);
  return found != nullptr && found->kind == YamlNode::Kind::scalar ? found->text : std::string();
}

// Whether a template of pods stands anywhere in it.
bool seems_to_make_pods(const YamlNode& node) {
  if (const auto* containers = at(node, {"spec", "containers"});
      containers != nullptr && containers->kind == YamlNode::Kind::list) {
    return true;
  }
  return std::ranges::any_of(node.items, seems_to_make_pods) ||
         std::ranges::any_of(
             node.entries, [](const YamlEntry& entry) { return seems_to_make_pods(entry.value); });
}

// An object of a file.
struct Written {
  std::size_t file = 0;
  YamlNode node;
  std::string group;  // "apps"; of the core: empty
  std::string kind;
  std::string name;
  std::string in_namespace;

  [[nodiscard]] std::string to_string() const { return fmt::format("{} {}", kind, name); }
};

class ManifestReader {
 public:
  ManifestReader(const std::vector<ManifestText>& texts, const std::vector<std::string>& namespaces)
      : texts_(texts), namespaces_(namespaces.begin(), namespaces.end()), faults_(texts.size()) {}

  Result<ManifestObjects> read() {
    for (std::size_t file = 0; file < texts_.size(); ++file) {
      auto stream = parse_yaml_stream(texts_[file].text);
      for (auto& fault : stream.faults) this->fault(file, fault.place, "", fault.message);
      for (auto& document : stream.documents) take(file, std::move(document));
    }
    RETURN_IF_ERROR(faults());
    RETURN_IF_ERROR(check_namespaces());
    made_.live.all_namespaces.emplace();
    add_namespaces();
    if (made_.live.pods.size() > most_manifest_pods) return too_many();
    add_notes();
    return std::move(made_);
  }

 private:
  void fault(std::size_t file, const Place& place, const std::string& path, std::string message) {
    faults_[file].push_back({.source = texts_[file].file,
                             .line = place.line,
                             .column = place.column,
                             .path = path,
                             .message = std::move(message)});
  }

  void take_over(const Written& object, const ReadLog& log) {
    for (const auto& one : log.faults()) fault(object.file, one.place, one.path, one.message);
  }

  [[nodiscard]] std::string place_of(const Written& object) const {
    return fmt::format("{}:{}", texts_[object.file].file, object.node.place.line);
  }

  Result<> faults() const {
    std::string all;
    for (std::size_t file = 0; file < texts_.size(); ++file) {
      if (faults_[file].empty()) continue;
      base::Diagnostics diagnostics(texts_[file].text);
      for (const auto& one : faults_[file]) diagnostics.add(one);
      all += (all.empty() ? "" : "\n") + diagnostics.to_error(texts_[file].file).message;
    }
    if (all.empty()) return {};
    return base::fail(ErrorKind::input, "{}", all);
  }

  [[nodiscard]] std::unexpected<base::Error> too_many() const {
    const auto most =
        std::ranges::max_element(made_by_, {}, [](const auto& one) { return one.second.second; });
    std::int64_t all = 0;
    for (const auto& [name, made] : made_by_) all += made.second;
    return base::fail_with_mend(
        ErrorKind::input,
        fmt::format("{}: {} makes {} of {} pods, and a lab takes {}", most->second.first,
                    most->first, most->second.second, all, most_manifest_pods),
        "Pods of one workload are alike to policies: write fewer replicas, or verify fewer "
        "namespaces at a time.");
  }

  // One document, or each item of a list.
  void take(std::size_t file, YamlNode node) {
    if (node.kind != YamlNode::Kind::map) {
      fault(file, node.place, "", unexpected_node("a Kubernetes object", node).error().message);
      return;
    }
    drop_nothings(node);
    const auto api_version = text_at(node, {"apiVersion"});
    const auto kind = text_at(node, {"kind"});
    if (api_version.empty() || kind.empty()) {
      fault(file, node.place, "", "expected a Kubernetes object, with apiVersion and kind");
      return;
    }
    auto* items = node.find("items");
    if (kind.ends_with("List") && items != nullptr) {
      for (auto& item : items->value.items) take(file, std::move(item));
      return;
    }
    const auto slash = api_version.find('/');
    Written object{.file = file,
                   .node = std::move(node),
                   .group = slash == std::string::npos ? "" : api_version.substr(0, slash),
                   .kind = kind,
                   .name = {},
                   .in_namespace = {}};
    object.name = text_at(object.node, {"metadata", "name"});
    if (object.name.empty()) object.name = text_at(object.node, {"metadata", "generateName"});
    object.in_namespace = text_at(object.node, {"metadata", "namespace"});
    sort(object);
  }

  void sort(Written& object) {
    const auto& [group, kind] = std::tie(object.group, object.kind);
    if (group.empty() && kind == "Namespace") {
      if (is_named(object)) take_namespace(object);
    } else if (group == "networking.k8s.io" && kind == base::kube::network_policy_kind) {
      if (is_ours(object)) take_policy(object);
    } else if (makes_pods(object)) {
      if (is_ours(object)) take_maker(object);
    } else if (is_other_policy(object)) {
      if (object.in_namespace.empty() || is_ours(object)) take_other_policy(object);
    } else if (std::ranges::find(harmless, kind) == harmless.end() &&
               seems_to_make_pods(object.node)) {
      if (!is_ours(object)) return;
      made_.unmade.push_back(
          {.workload = fmt::format("{}/{}", object.in_namespace, object.to_string()),
           .reason = fmt::format("{}: its kind is not known here, and the pods it may make were "
                                 "not looked at",
                                 place_of(object))});
    } else {
      ++ignored_[kind];
    }
  }

  [[nodiscard]] static bool makes_pods(const Written& object) {
    const auto is = [&](std::string_view group, std::initializer_list<std::string_view> kinds) {
      return object.group == group && std::ranges::find(kinds, object.kind) != kinds.end();
    };
    return is("", {"Pod", "ReplicationController"}) ||
           is("apps", {"Deployment", "ReplicaSet", "StatefulSet", "DaemonSet"}) ||
           is("batch", {"Job", "CronJob"});
  }

  // As cluster::read_live_objects() has them: staged ones are enforced by nobody.
  [[nodiscard]] static bool is_other_policy(const Written& object) {
    return object.kind.ends_with("NetworkPolicy") && !object.kind.starts_with("Staged");
  }

  bool is_named(const Written& object) {
    if (!object.name.empty()) return true;
    fault(object.file, object.node.place, "metadata.name",
          fmt::format("missing: the name of this {}", object.kind));
    return false;
  }

  // Whether it is of a namespace that was asked for, which is that of objects without one where it
  // is the only one.
  bool is_ours(Written& object) {
    if (!is_named(object)) return false;
    if (object.in_namespace.empty()) {
      if (namespaces_.size() > 1) {
        fault(object.file, object.node.place, "metadata.namespace",
              fmt::format("missing, and {} were asked for: whose {} is it?",
                          fmt::join(namespaces_, " and "), object.to_string()));
        return false;
      }
      object.in_namespace = *namespaces_.begin();
    }
    if (!namespaces_.contains(object.in_namespace)) {
      others_.insert(object.in_namespace);
      return false;
    }
    found_.insert(object.in_namespace);
    const auto key = fmt::format("{} {}/{}", object.kind, object.in_namespace, object.name);
    const auto [first, is_new] = places_.try_emplace(key, place_of(object));
    if (!is_new) {
      fault(object.file, object.node.place, "",
            fmt::format("{} is there already: {}", key, first->second));
    }
    return is_new;
  }

  void take_namespace(const Written& object) {
    ReadLog log;
    log.pass_over_unknown();
    ManifestMeta meta;
    if (const auto* entry = object.node.find("metadata")) {
      read_node(entry->value, "metadata", {}, log, meta);
    }
    take_over(object, log);
    if (!labels_.try_emplace(object.name, meta.labels).second) {
      fault(object.file, object.node.place, "",
            fmt::format("Namespace {} is there already", object.name));
    }
  }

  // Nobody means a namespace of which no manifest says anything.
  [[nodiscard]] Result<> check_namespaces() const {
    for (const auto& name : namespaces_) {
      if (labels_.contains(name) || found_.contains(name)) continue;
      return base::fail_with_mend(
          ErrorKind::input, fmt::format("no manifest says anything of namespace {}", name),
          others_.empty() ? "-f names the files."
                          : fmt::format("They are of {}.", fmt::join(others_, ", ")));
    }
    return {};
  }

  void add_namespaces() {
    for (const auto& name : namespaces_) labels_.try_emplace(name);
    for (const auto& [name, written] : labels_) {
      auto labels = written;
      labels["kubernetes.io/metadata.name"] = name;
      made_.live.all_namespaces->push_back({{"apiVersion", "v1"},
                                            {"kind", "Namespace"},
                                            {"metadata", {{"name", name}, {"labels", labels}}}});
      if (namespaces_.contains(name)) {
        made_.live.namespaces.push_back(made_.live.all_namespaces->back());
      }
    }
  }

  void take_policy(Written& object) {
    // What a server writes is not what people do.
    if (auto* meta = object.node.find("metadata")) {
      std::erase_if(meta->value.entries, [](const YamlEntry& entry) {
        return entry.key != "name" && entry.key != "namespace" && entry.key != "labels";
      });
    }
    std::erase_if(object.node.entries,
                  [](const YamlEntry& entry) { return entry.key == "status"; });
    ReadLog log;
    base::kube::NetworkPolicy policy;
    read_node(object.node, "", {}, log, policy);
    if (log.faults().empty()) {
      policy.metadata.in_namespace = object.in_namespace;
      base::kube::apply_defaults(policy);
      for (const auto& one : base::kube::faults_of(policy)) {
        log.fault(log.place_of(one.field), one.field, one.message);
      }
    }
    take_over(object, log);
    if (log.faults().empty()) made_.live.policies.push_back(base::kube::manifest(policy));
  }

  void take_other_policy(const Written& object) {
    auto json = decode_json(object.node);
    if (!object.in_namespace.empty()) json["metadata"]["namespace"] = object.in_namespace;
    made_.live.others.push_back(std::move(json));
  }

  void take_maker(const Written& object) {
    ReadLog log;
    log.pass_over_unknown();
    ManifestMaker maker;
    std::string path;
    if (object.kind == "Pod") {
      read_node(object.node, path, {}, log, maker.pods);
    } else {
      path = object.kind == "CronJob" ? "spec.jobTemplate.spec" : "spec";
      const auto* spec = object.kind == "CronJob" ? at(object.node, {"spec", "jobTemplate", "spec"})
                                                  : at(object.node, {"spec"});
      if (spec == nullptr) {
        log.fault(object.node.place, path, "missing: what it makes");
      } else if (object.kind == "ReplicationController") {
        // Its selector is a map of its own kind.
        auto rest = *spec;
        std::erase_if(rest.entries, [](const YamlEntry& one) { return one.key == "selector"; });
        read_node(rest, path, {}, log, maker);
      } else {
        read_node(*spec, path, {}, log, maker);
      }
      path += ".template";
    }
    check_pods(maker, path, log);
    take_over(object, log);
    if (log.faults().empty()) make_pods(object, maker);
  }

  static void check_pods(const ManifestMaker& maker, const std::string& path, ReadLog& log) {
    const auto& pods = maker.pods;
    const auto labels = join_path(path, "metadata.labels");
    for (const auto& [key, value] : pods.metadata.labels) {
      if (base::kube::is_label_key(key) && base::kube::is_label_value(value)) continue;
      const auto one = join_path(labels, key);
      log.fault(log.place_of(one), one, fmt::format("expected a label, got {}: {}", key, value));
    }
    if (maker.selector && !checks::selects(*maker.selector, pods.metadata.labels)) {
      log.fault(log.place_of(labels), labels, "the selector beside it does not select these pods");
    }
    for (std::size_t i = 0; i < pods.spec.containers.size(); ++i) {
      const auto& ports = pods.spec.containers[i].ports;
      for (std::size_t j = 0; j < ports.size(); ++j) {
        if (ports[j].name.empty() || base::kube::is_port_name(ports[j].name)) continue;
        const auto one =
            index_path(join_path(index_path(join_path(path, "spec.containers"), i), "ports"), j);
        log.fault(log.place_of(one), one,
                  fmt::format("expected a port's name of 1 to 15 of a-z, 0-9 and -, got \"{}\"",
                              ports[j].name));
      }
    }
  }

  [[nodiscard]] static int count_of(const std::string& kind, const ManifestMaker& maker) {
    if (kind == "Pod") return 1;
    if (kind == "DaemonSet") return lab_nodes;
    if (kind == "Job" || kind == "CronJob") return maker.parallelism.value_or(1);
    return maker.replicas.value_or(1);
  }

  void make_pods(const Written& object, const ManifestMaker& maker) {
    const int count = count_of(object.kind, maker);
    made_by_[object.to_string()] = {place_of(object), count};
    if (count == 0) {
      made_.notes.push_back(fmt::format("{}: {} has no pods, and was not looked at",
                                        place_of(object), object.to_string()));
    }
    // The bound is judged by what is asked for, without making it.
    for (int i = 0; i < std::min<int>(count, most_manifest_pods + 1); ++i) {
      add_pod(object, maker.pods, i);
    }
  }

  static Json ports_of(const std::vector<ManifestContainer>& containers, bool sidecars_only) {
    Json all = Json::array();
    for (const auto& container : containers) {
      if (sidecars_only && container.restart_policy != "Always") continue;
      Json ports = Json::array();
      for (const auto& port : container.ports) {
        ports.push_back({{"containerPort", port.port},
                         {"name", port.name},
                         {"protocol", base::enum_name(port.protocol)}});
      }
      all.push_back({{"ports", std::move(ports)}, {"restartPolicy", container.restart_policy}});
    }
    return all;
  }

  // As its controller would make it.
  void add_pod(const Written& object, const ManifestPod& pod, int index) {
    auto labels = pod.metadata.labels;
    auto name = object.name;
    if (object.kind == "StatefulSet") {
      name = fmt::format("{}-{}", object.name, index);
      labels["statefulset.kubernetes.io/pod-name"] = name;
      labels["apps.kubernetes.io/pod-index"] = std::to_string(index);
    } else if (object.kind != "Pod") {
      name = fmt::format("{}-{}", object.name, index + 1);
    }
    if (object.kind == "Job") {
      labels["job-name"] = labels["batch.kubernetes.io/job-name"] = object.name;
    }
    const int node = object.kind == "DaemonSet"
                         ? index + 1
                         : static_cast<int>(made_.live.pods.size() % lab_nodes) + 1;
    Json made = {
        {"apiVersion", "v1"},
        {"kind", "Pod"},
        {"metadata", {{"name", name}, {"namespace", object.in_namespace}, {"labels", labels}}},
        {"spec",
         {{"nodeName", lab_node(node)},
          {"hostNetwork", pod.spec.host_network},
          {"containers", ports_of(pod.spec.containers, false)},
          {"initContainers", ports_of(pod.spec.init_containers, true)}}},
        {"status", {{"phase", "Running"}}}};
    if (object.kind != "Pod") {
      made["metadata"]["ownerReferences"] =
          Json::array({{{"kind", object.kind}, {"name", object.name}, {"controller", true}}});
    }
    made_.live.pods.push_back(std::move(made));
  }

  void add_notes() {
    for (const auto& name : namespaces_) {
      if (labels_[name].empty()) {
        made_.notes.push_back(
            fmt::format("no manifest gives namespace {} labels: it is taken to have none but "
                        "kubernetes.io/metadata.name",
                        name));
      }
    }
    if (!others_.empty()) {
      made_.notes.push_back(fmt::format("objects of other namespaces were not looked at: {}",
                                        fmt::join(others_, ", ")));
    }
    if (ignored_.empty()) return;
    std::vector<std::string> kinds;
    for (const auto& [kind, count] : ignored_) kinds.push_back(fmt::format("{} {}", count, kind));
    made_.notes.push_back(fmt::format("ignored, as they make no pods and are no policies: {}",
                                      fmt::join(kinds, ", ")));
  }

  const std::vector<ManifestText>& texts_;
  std::set<std::string> namespaces_;
  std::vector<std::vector<base::Diagnostic>> faults_;  // by file
  ManifestObjects made_;
  std::map<std::string, checks::Labels> labels_;                // of Namespaces
  std::map<std::string, std::string> places_;                   // by kind, namespace and name
  std::map<std::string, std::pair<std::string, int>> made_by_;  // where, and how many pods
  std::map<std::string, int> ignored_;                          // by kind
  std::set<std::string> found_;                                 // namespaces that have something
  std::set<std::string> others_;                                // namespaces nobody asked for
};

}  // namespace

Result<ManifestObjects> objects_of(const std::vector<ManifestText>& texts,
                                   const std::vector<std::string>& namespaces) {
  return ManifestReader(texts, namespaces).read();
}

}  // namespace stackbench
