#include "cluster/kubernetes/kubernetes_target.h"

#include <set>
#include <tuple>
#include <utility>

#include <sys/random.h>

#include "base/kube/endpoint_slice.h"
#include "cluster/check_plan.h"
#include "cluster/kubernetes/api_error.h"
#include "cluster/kubernetes/cleanup.h"
#include "cluster/kubernetes/hubble.h"
#include "cluster/kubernetes/live_objects.h"
#include "cluster/kubernetes/owner.h"
#include "cluster/kubernetes/pod_network.h"

namespace cluster {
namespace {

using base::ErrorKind;
using base::Json;
using base::Result;

constexpr std::string_view policy_kind = "NetworkPolicy";

// "networking.k8s.io/v1" of "NetworkPolicy.networking.k8s.io/v1"; what it is of a bare kind.
std::pair<std::string, std::string> split_kind(std::string_view kind) {
  const auto dot = kind.find('.');
  if (dot != std::string_view::npos) {
    return {std::string(kind.substr(dot + 1)), std::string(kind.substr(0, dot))};
  }
  if (kind == "EndpointSlice") return {"discovery.k8s.io/v1", std::string(kind)};
  if (kind == policy_kind) return {"networking.k8s.io/v1", std::string(kind)};
  return {"v1", std::string(kind)};
}

}  // namespace

std::string new_run() {
  std::uint32_t number = 0;
  if (::getrandom(&number, sizeof(number), 0) != sizeof(number)) {
    number = static_cast<std::uint32_t>(base::monotonic_now().ns);
  }
  return fmt::format("{:08x}", number);
}

std::string image_of(const KubernetesOptions& options) {
  return options.agent_image.empty() ? fmt::format("stackbench-agent:{}", STACKBENCH_VERSION)
                                     : options.agent_image;
}

ApiOptions api_options_of(const KubernetesOptions& options, const std::string& socket) {
  return {.socket = socket, .timeout = options.request_timeout, .interrupt = options.interrupt};
}

KubernetesTarget::KubernetesTarget(KubernetesOptions options, KubectlProxy proxy)
    : options_(std::move(options)),
      proxy_(std::move(proxy)),
      run_(new_run()),
      owner_(owner_of_ours()),
      api_(api_options_of(options_, proxy_.socket())),
      agents_(proxy_.socket(),
              {.kubectl = options_.kubectl,
               .kubeconfig = options_.kubeconfig,
               .context = options_.context},
              options_.interrupt) {}

Result<std::unique_ptr<KubernetesTarget>> KubernetesTarget::create(KubernetesOptions options) {
  ASSIGN_OR_RETURN(auto proxy, KubectlProxy::start({.kubectl = options.kubectl,
                                                    .kubeconfig = options.kubeconfig,
                                                    .context = options.context},
                                                   options.interrupt));
  std::unique_ptr<KubernetesTarget> target(
      new KubernetesTarget(std::move(options), std::move(proxy)));
  RETURN_IF_ERROR(target->explained(target->get_to_know()));
  return target;
}

KubernetesTarget::~KubernetesTarget() { std::ignore = KubernetesTarget::teardown(); }

Result<> KubernetesTarget::get_to_know() {
  auto hurried = api_.options();
  hurried.timeout = std::min(hurried.timeout, first_answer_patience);
  ApiClient first(hurried);
  ASSIGN_OR_RETURN(const auto version, first.get("/version"));
  RETURN_IF_ERROR(check_rights(
      api_.options(), rights_of_run(options_.in_namespace, text_at(version, {"gitVersion"}))));
  ASSIGN_OR_RETURN(nodes_, list_nodes(api_));
  ASSIGN_OR_RETURN(cluster_, collect_cluster_facts(api_, nodes_));
  ASSIGN_OR_RETURN(auto observers, cluster::place(run_, "", owner_, options_.in_namespace));
  make_observers(std::move(observers));
  return {};
}

Result<std::optional<std::string>> KubernetesTarget::unavailable(const EnvironmentPlan& plan) {
  if (!options_.in_namespace.empty() && !plan.topology.namespaces.empty()) {
    return fmt::format("the run keeps to namespace {}, and the scenario has namespaces of its own",
                       options_.in_namespace);
  }
  if (!options_.in_namespace.empty() && plan.mesh) {
    return fmt::format(
        "the run keeps to namespace {}, and what it would tell a mesh there would "
        "hold for others, too",
        options_.in_namespace);
  }
  return why_unavailable(cluster_, plan);
}

Result<EnvironmentHandle> KubernetesTarget::provision(const EnvironmentPlan& plan) {
  if (const auto up = environments_.find(plan.name); up != environments_.end()) {
    if (up->second->plan() == plan) return handle_of(*up->second);
    return base::fail(ErrorKind::input, "environment {} is up with another plan", plan.name);
  }
  RETURN_IF_ERROR(check_plan(plan));
  RETURN_IF_ERROR(check_fillers(plan));
  RETURN_IF_ERROR(explained(check_rights(api_.options(), more_rights(plan))));
  ASSIGN_OR_RETURN(auto place, cluster::place(run_, plan.name, owner_, options_.in_namespace));
  place.has_jobs = !plan.generator_groups.empty();
  place.has_policies = plan.has_policies;
  place.in_mesh = plan.mesh.has_value();
  ASSIGN_OR_RETURN(const auto nodes, choose_nodes(nodes_, plan.topology.nodes));
  ASSIGN_OR_RETURN(auto environment, ClusterEnvironment::make(api_, plan, place));
  environment->annotate_load_balancers(load_balancer_annotations_);
  if (plan.mesh && cluster_.istio) environment->use_mesh(*cluster_.istio);
  auto built = environment->build(nodes, image_of(options_));
  if (!built) {
    auto undo = api_.options();
    undo.interrupt = nullptr;
    std::ignore = remove_objects(undo, environment->places());
    return base::in_context(proxy_.explain(std::move(built).error()), "environment {}", plan.name);
  }
  const auto& first = environment->handle().pods.front();
  if (const auto network = read_pod_network(agents_, environment->place_of(first).in_namespace,
                                            environment->object_name(first))) {
    networks_[plan.name] = base::to_json(*network);
  }
  environment->ask_version_of_proxies(agents_);
  auto handle = handle_of(*environment);
  environments_.emplace(plan.name, std::move(environment));
  return handle;
}

// Beside those of every run.
std::vector<Right> KubernetesTarget::more_rights(const EnvironmentPlan& plan) const {
  std::vector<Right> rights;
  const auto add = [&rights](bool needed, const std::vector<Right>& more) {
    if (needed) rights.insert(rights.end(), more.begin(), more.end());
  };
  add(plan.filler.services > 0, rights_for_fillers(options_.in_namespace));
  add(plan.replaces_pods, rights_to_replace(options_.in_namespace));
  add(!plan.generator_groups.empty(), rights_for_generators(options_.in_namespace));
  add(plan.has_policies, rights_for_policies(options_.in_namespace));
  if (plan.mesh) add(true, rights_for_meshes(plan.mesh->spec));
  return rights;
}

// Beside what was created: the datapath that is there, and that nobody says when it has a Service.
EnvironmentHandle KubernetesTarget::handle_of(const ClusterEnvironment& environment) const {
  auto handle = environment.handle();
  if (handle.datapath == DatapathKind::installed) {
    handle.datapath = installed_datapath(cluster_.proxy);
  }
  handle.programmed = false;
  return handle;
}

// All environments share the cluster's datapath, and so each other's fillers.
Result<> KubernetesTarget::check_fillers(const EnvironmentPlan& plan) const {
  for (const auto& [name, other] : environments_) {
    const int loaded = other->plan().filler.services;
    if (loaded == plan.filler.services) continue;
    return base::fail_with_mend(
        ErrorKind::input,
        fmt::format("environments {} and {} would share one cluster's rules, and their numbers of "
                    "other Services, {} and {}, would add up",
                    name, plan.name, loaded, plan.filler.services),
        "Give each a cluster of its own (`context:` in its environment).");
  }
  return {};
}

Result<> KubernetesTarget::teardown() {
  auto options = api_.options();
  options.interrupt = nullptr;
  std::vector<Placement> places;
  for (const auto& [name, environment] : environments_) {
    for (auto& place : environment->places()) places.push_back(std::move(place));
  }
  if (observers_ && observers_->any()) places.push_back(observers_->place());
  Result<> outcome;
  const auto note = [&](Result<> done) {
    if (outcome) outcome = std::move(done);
  };
  const auto unreachable = [&] {
    return !outcome && (outcome.error().kind == base::ErrorKind::peer_lost ||
                        outcome.error().kind == base::ErrorKind::system);
  };
  // All are told before any is waited for, and none once the server is not reached.
  ApiClient api(options);
  for (const auto& place : places) {
    if (!unreachable()) note(delete_objects(api, place));
  }
  const auto deadline = removal_deadline();
  for (const auto& place : places) {
    if (!unreachable()) note(await_removal(options, place, deadline));
  }
  if (told_ && !unreachable()) note(remove_announcer_objects(api, *told_, run_));
  told_.reset();
  load_balancer_annotations_.clear();
  environments_.clear();
  networks_.clear();
  applied_to_.clear();
  if (observers_) {
    make_observers(observers_->place());
  }
  return explained(std::move(outcome));
}

Result<ClusterEnvironment*> KubernetesTarget::find(std::string_view environment) {
  const auto found = environments_.find(environment);
  if (found != environments_.end()) return found->second.get();
  return base::fail(ErrorKind::input, "there is no environment \"{}\"", environment);
}

Result<std::string> KubernetesTarget::path_of(const Placement& place,
                                              const std::string& api_version,
                                              const std::string& kind) {
  const auto base_path = fmt::format(
      "{}/{}", api_version.find('/') == std::string::npos ? "/api" : "/apis", api_version);
  auto& resource = paths_[api_version + " " + kind];
  if (resource.empty()) {
    ASSIGN_OR_RETURN(const auto found, api_.find(base_path));
    const Json listing = found ? *found : Json();
    for (const auto& one : json_at(listing, {"resources"})) {
      const auto name = text_at(one, {"name"});
      // Not "services/status".
      if (text_at(one, {"kind"}) != kind || name.find('/') != std::string::npos) continue;
      const auto& namespaced = json_at(one, {"namespaced"});
      if (namespaced.is_boolean() && namespaced.get<bool>()) resource = name;
    }
  }
  if (resource.empty()) {
    return base::fail(ErrorKind::missing, "the cluster knows no {} of {} in a namespace", kind,
                      api_version);
  }
  return fmt::format("{}/namespaces/{}/{}", base_path, place.in_namespace, resource);
}

Result<WriteStamps> KubernetesTarget::apply(std::string_view environment, const Json& object) {
  ASSIGN_OR_RETURN(ClusterEnvironment * found, find(environment));
  ASSIGN_OR_RETURN(const auto type, base::from_json<base::kube::TypeMeta>(object, "object"));
  const auto name = text_at(object, {"metadata", "name"});
  auto in_namespace = text_at(object, {"metadata", "namespace"});
  if (in_namespace.empty()) in_namespace = default_namespace;
  ASSIGN_OR_RETURN(const Placement* there, found->find_place(in_namespace));
  const auto& place = *there;
  if (name.empty()) return base::fail(ErrorKind::input, "{}: metadata.name: missing", type.kind);
  const auto service = text_at(object, {"metadata", "labels", base::kube::service_name_label});
  if (type.kind == "EndpointSlice" && found->handle().services.contains(service)) {
    return base::fail(ErrorKind::missing,
                      "the EndpointSlices of Service {} are written by their controller", service);
  }
  ASSIGN_OR_RETURN(const auto path, path_of(place, type.api_version, type.kind));
  const auto own = own_manifest(place, found->with_own_names(object));
  if (type.kind == policy_kind) found->note_policies();
  ASSIGN_OR_RETURN(auto* const claims, claims_before(*found, type.kind));
  ASSIGN_OR_RETURN(const auto answer,
                   explained(of_ours(api_.apply(path + "/" + place.name(name), own))));
  applied_to_[{std::string(environment), type.kind, name}].insert(in_namespace);
  return stamps_of(answer, claims);
}

Result<WriteStamps> KubernetesTarget::remove(std::string_view environment, std::string_view kind,
                                             std::string_view name) {
  ASSIGN_OR_RETURN(ClusterEnvironment * found, find(environment));
  const auto [api_version, bare] = split_kind(kind);
  const auto slash = name.find('/');
  const auto bare_name = name.substr(slash == std::string_view::npos ? 0 : slash + 1);
  auto& applied = applied_to_[{std::string(environment), bare, std::string(bare_name)}];
  std::string in_namespace(default_namespace);
  if (slash != std::string_view::npos) {
    in_namespace = name.substr(0, slash);
  } else if (applied.size() == 1) {
    in_namespace = *applied.begin();
  } else if (applied.size() > 1) {
    return base::fail_with_mend(
        ErrorKind::input,
        fmt::format("there is {} {} in the namespaces {}", bare, name, fmt::join(applied, ", ")),
        "Say which: NAMESPACE/NAME.");
  }
  ASSIGN_OR_RETURN(const Placement* place, found->find_place(in_namespace));
  ASSIGN_OR_RETURN(const auto path, path_of(*place, api_version, bare));
  ASSIGN_OR_RETURN(auto* const claims, claims_before(*found, bare));
  ASSIGN_OR_RETURN(const auto answer, explained(api_.remove(path + "/" + place->name(bare_name))));
  applied.erase(in_namespace);
  return stamps_of(answer, claims);
}

CiliumAgents KubernetesTarget::cilium_at(const ClusterEnvironment& environment) const {
  CiliumAgents agents{.in_namespace = cluster_.plugin.in_namespace.empty()
                                          ? std::string(cilium_namespace)
                                          : cluster_.plugin.in_namespace,
                      .version = cluster_.version,
                      .nodes = {}};
  for (const auto& pod : environment.handle().pods) agents.nodes.insert(environment.node_of(pod));
  return agents;
}

Result<CiliumClaims*> KubernetesTarget::claims_before(const ClusterEnvironment& environment,
                                                      std::string_view kind) {
  if (kind != policy_kind || cluster_.plugin.name != "cilium" || !unclaimed_.empty())
    return nullptr;
  const auto& name = environment.handle().name;
  const auto begun = [&]() -> Result<CiliumClaims*> {
    auto known = claims_.find(name);
    if (known == claims_.end()) {
      std::set<std::string> pods;
      for (const auto& pod : environment.handle().pods) {
        pods.insert(environment.place_of(pod).in_namespace + "/" + environment.object_name(pod));
      }
      ASSIGN_OR_RETURN(auto claims,
                       CiliumClaims::make(api_, agents_, cilium_at(environment), pods));
      known = claims_.emplace(name, std::move(claims)).first;
    }
    RETURN_IF_ERROR(known->second.begin());
    return &known->second;
  }();
  if (begun || begun.error().kind == ErrorKind::interrupted) return begun;
  unclaimed_ = begun.error().message;
  return nullptr;
}

Result<WriteStamps> KubernetesTarget::stamps_of(const ApiAnswer& answer, CiliumClaims* claims) {
  WriteStamps stamps{.sent_ns = answer.sent_ns,
                     .acked_ns = answer.acked_ns,
                     .resource_version = answer.resource_version()};
  if (claims == nullptr) return stamps;
  const auto claimed = claims->await();
  if (claimed) {
    stamps.programmed_ns = *claimed;
  } else if (claimed.error().kind == ErrorKind::interrupted) {
    return std::unexpected(claimed.error());
  } else {
    unclaimed_ = claimed.error().message;
  }
  return stamps;
}

Result<WriteStamps> KubernetesTarget::set_readiness(std::string_view environment,
                                                    [[maybe_unused]] base::AddressFamily family,
                                                    const std::map<std::string, Readiness>& pods) {
  ASSIGN_OR_RETURN(ClusterEnvironment * found, find(environment));
  return explained(found->set_readiness(pods));
}

Result<WriteStamps> KubernetesTarget::set_labels(std::string_view environment, LabelledKind kind,
                                                 std::string_view name,
                                                 const std::map<std::string, std::string>& labels) {
  ASSIGN_OR_RETURN(ClusterEnvironment * found, find(environment));
  return explained(found->set_labels(kind, name, labels));
}

Result<WriteStamps> KubernetesTarget::restart_pod(std::string_view environment,
                                                  std::string_view pod, const PodRestart& how) {
  ASSIGN_OR_RETURN(ClusterEnvironment * found, find(environment));
  RETURN_IF_ERROR(
      explained(check_rights(api_.options(), rights_to_replace(options_.in_namespace))));
  return explained(found->restart_pod(pod, how));
}

Result<AgentStreams> KubernetesTarget::agent(std::string_view environment, std::string_view pod) {
  ASSIGN_OR_RETURN(ClusterEnvironment * found, find(environment));
  ASSIGN_OR_RETURN(const PodHandle* handle, found->find_pod(pod));
  const auto& place = found->place_of(*handle);
  return explained(
      agents_.attach(place.in_namespace, found->object_name(*handle), found->node_of(*handle)));
}

void KubernetesTarget::make_observers(Placement place) {
  meters_.reset();
  observers_ = std::make_unique<Observers>(api_, agents_, std::move(place), image_of(options_));
  meters_ = std::make_unique<ProxyMeters>(*observers_, options_.interrupt);
}

Result<std::optional<std::string>> KubernetesTarget::why_silent(std::string_view environment,
                                                                std::string_view service) {
  ASSIGN_OR_RETURN(ClusterEnvironment * found, find(environment));
  return found->why_silent(service);
}

Result<Observer> KubernetesTarget::observe(std::string_view environment, std::string_view pod) {
  ASSIGN_OR_RETURN(ClusterEnvironment * found, find(environment));
  ASSIGN_OR_RETURN(const PodHandle* handle, found->find_pod(pod));
  const auto& place = found->place_of(*handle);
  return explained(observers_->observe({.in_namespace = place.in_namespace,
                                        .pod = found->object_name(*handle),
                                        .node = found->node_of(*handle)}));
}

Result<std::vector<DeniedPacket>> KubernetesTarget::denied_lately(std::string_view environment,
                                                                  std::int64_t since_ns) {
  ASSIGN_OR_RETURN(ClusterEnvironment * found, find(environment));
  const auto& plugin = cluster_.plugin;
  if (plugin.name != "cilium") {
    return base::fail(
        ErrorKind::missing,
        "with the network plugin {} nobody tells which packets policies denied (Cilium "
        "does, by Hubble)",
        plugin.name.empty() ? "that is there, which is unknown," : plugin.name);
  }
  // An exec takes a while to begin, and flows have stamps of the node's clock: of so much more.
  constexpr base::Duration margin = std::chrono::seconds(1);
  HubbleQuestion question{.agents = cilium_at(*found),
                          .namespaces = {},
                          .age = base::Duration(base::monotonic_now().ns - since_ns) + margin};
  for (const auto& place : found->places()) question.namespaces.insert(place.in_namespace);
  return explained(ask_hubble(api_, agents_, question));
}

Result<std::optional<Announcer>> KubernetesTarget::announcer() {
  ASSIGN_OR_RETURN(auto all, explained(find_announcers(api_)));
  if (all.empty()) return std::nullopt;
  RETURN_IF_ERROR(explained(check_rights(api_.options(), rights_to_announce(all.front()))));
  return std::move(all.front());
}

Result<> KubernetesTarget::announce(const Announcer& announcer, const std::vector<Json>& objects,
                                    const std::map<std::string, std::string>& annotations) {
  told_ = announcer;
  load_balancer_annotations_ = annotations;
  for (const auto& object : objects) {
    RETURN_IF_ERROR(explained(write_announcer_object(api_, announcer, run_, owner_, object)));
  }
  return {};
}

Result<std::vector<Json>> KubernetesTarget::objects_of(const Announcer& announcer,
                                                       std::string_view kind) {
  return explained(announcer_objects(api_, announcer, kind));
}

Result<OtherPolicies> KubernetesTarget::other_policies(std::string_view environment) {
  ASSIGN_OR_RETURN(ClusterEnvironment * found, find(environment));
  std::map<std::string, std::string> called;  // by the scenario, by a namespace's name
  std::vector<std::string> namespaces;
  for (const auto& [name, handle] : found->handle().namespaces) {
    if (called.emplace(handle.name, name).second) namespaces.push_back(handle.name);
  }
  ASSIGN_OR_RETURN(auto live, explained(read_live_policies(api_, namespaces)));
  OtherPolicies others;
  for (auto* const list : {&live.policies, &live.others}) {
    for (auto& object : *list) {
      const auto labels = object_labels(object);
      const auto of_run = labels.find(std::string(run_label));
      if (of_run != labels.end() && of_run->second == run_) continue;
      const auto in_namespace = text_at(object, {"metadata", "namespace"});
      if (const auto known = called.find(in_namespace); known != called.end()) {
        object["metadata"]["namespace"] = known->second;
      }
      others.objects.push_back(std::move(object));
    }
  }
  for (auto& [kind, why] : live.unseen) others.unseen[kind] = std::move(why);
  return others;
}

Json KubernetesTarget::facts() const {
  Json facts = {{"target", "kubernetes"}};
  facts.update(facts_json(cluster_));
  facts["agent_image"] = image_of(options_);
  facts["agents_reached_by"] = agents_.way();
  if (!unclaimed_.empty()) facts["policy_claims"] = unclaimed_;
  std::set<std::string> used;
  for (const auto& [name, environment] : environments_) {
    Json one = environment->facts();
    for (const auto& node : one["nodes"]) used.insert(node.get<std::string>());
    if (const auto network = networks_.find(name); network != networks_.end()) {
      one["pod_network"] = network->second;
    }
    if (one.contains("mesh")) {
      one["mesh"]["usage"] =
          meters_->why_not().empty()
              ? "Envoy and istio-agent together: schedstat and resident pages of their processes"
              : "unknown " + meters_->why_not();
    }
    facts["environments"][name] = std::move(one);
  }
  Json nodes = Json::object();
  for (const auto& name : used) {
    const auto& info = json_at(nodes_.at(name), {"status", "nodeInfo"});
    nodes[name] = {{"kernel", text_at(info, {"kernelVersion"})},
                   {"os", text_at(info, {"osImage"})},
                   {"runtime", text_at(info, {"containerRuntimeVersion"})},
                   {"kubelet", text_at(info, {"kubeletVersion"})}};
  }
  facts["nodes"] = std::move(nodes);
  return facts;
}

}  // namespace cluster
