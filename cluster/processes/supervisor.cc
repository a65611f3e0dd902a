#include "cluster/processes/supervisor.h"

#include <algorithm>
#include <chrono>
#include <tuple>
#include <utility>

#include <poll.h>
#include <unistd.h>

#include "cluster/fabric/cgroup.h"
#include "cluster/processes/addons.h"
#include "cluster/processes/addresses.h"
#include "cluster/processes/components.h"
#include "cluster/processes/configs.h"
#include "cluster/processes/coredns.h"
#include "cluster/processes/files.h"
#include "cluster/processes/images.h"
#include "cluster/processes/metallb.h"
#include "cluster/processes/node.h"
#include "cluster/processes/readiness.h"
#include "cluster/processes/remains.h"
#include "cluster/processes/wiring.h"

namespace cluster::processes {
namespace {

using base::ErrorKind;
using base::Result;

// Of steps that take seconds on an idle machine: other work on it may make them take minutes.
constexpr base::Duration step_patience = std::chrono::seconds(120);
constexpr base::Duration import_patience = std::chrono::seconds(120);
constexpr base::Duration between_questions = std::chrono::milliseconds(50);
constexpr base::Duration between_looks_at_logs = std::chrono::seconds(2);
constexpr base::Duration answer_patience = std::chrono::seconds(2);

bool is_success(int status) { return status / 100 == 2; }

double seconds(base::Duration span) { return std::chrono::duration<double>(span).count(); }

// A kubelet and a kube-proxy only warn of it, and then some Services do not answer some pods.
Result<> check_bridge_filter() {
  if (filters_bridged_packets()) return {};
  return base::fail_with_mend(
      ErrorKind::missing, "the kernel does not filter bridged packets (no br_netfilter)",
      "modprobe br_netfilter: a Service's answers between pods of one node cross only a bridge.");
}

}  // namespace

Supervisor::Supervisor(Shape shape, Directory directory, Tools tools, StopSignals stop,
                       Progress progress)
    : shape_(std::move(shape)),
      directory_(std::move(directory)),
      tools_(std::move(tools)),
      stop_(stop),
      progress_(std::move(progress)),
      started_(base::monotonic_now()),
      components_(directory_, component_environment(tools_)) {}

Supervisor::~Supervisor() { std::ignore = end(); }

Result<> Supervisor::bring_up() {
  auto done = start_everything();
  keeps_logs_ = !done && done.error().kind != ErrorKind::interrupted;
  return done;
}

Result<> Supervisor::start_everything() {
  RETURN_IF_ERROR(check_bridge_filter());
  RETURN_IF_ERROR(claim_directory());
  RETURN_IF_ERROR(make_files());
  RETURN_IF_ERROR(make_network());
  RETURN_IF_ERROR(start_api_server());
  // While the API server starts.
  RETURN_IF_ERROR(make_nodes());
  RETURN_IF_ERROR(save_state());
  RETURN_IF_ERROR(take_in_images());
  RETURN_IF_ERROR(wait_until("the API server to be ready", step_patience, [&]() -> Result<bool> {
    const auto answer = api_->request("GET", "/readyz", {}, answer_patience);
    if (!answer) return std::unexpected(answer.error());
    return answer->status == 200;
  }));
  state_.timings.control_plane_ns = (base::monotonic_now() - started_).count();
  progress_(
      fmt::format("control plane ready after {:.1f} s", seconds(base::monotonic_now() - started_)));
  RETURN_IF_ERROR(start_controllers());
  RETURN_IF_ERROR(make_addons());
  RETURN_IF_ERROR(start_kubelets());
  RETURN_IF_ERROR(wait_until_nodes_are_ready());
  state_.timings.nodes_ns = (base::monotonic_now() - started_).count();
  progress_(fmt::format("{} {} Ready after {:.1f} s", shape_.nodes,
                        shape_.nodes == 1 ? "node" : "nodes",
                        seconds(base::monotonic_now() - started_)));
  RETURN_IF_ERROR(wait_until_proxies_have_synced());
  RETURN_IF_ERROR(wait_until_addons_are_ready());
  RETURN_IF_ERROR(install_mesh());
  state_.timings.total_ns = (base::monotonic_now() - started_).count();
  state_.phase = Phase::ready;
  return save_state();
}

Result<> Supervisor::claim_directory() {
  ASSIGN_OR_RETURN(lock_, lock_directory(directory_));
  RETURN_IF_ERROR(remove_remains(directory_));
  RETURN_IF_ERROR(make_directory(directory_.logs()));
  const auto ticks = start_ticks_of(::getpid());
  if (!ticks) return base::fail(ErrorKind::system, "/proc/self/stat: no start time");
  state_ = {.shape = shape_,
            .supervisor = ::getpid(),
            .start_ticks = *ticks,
            .version = STACKBENCH_VERSION};
  return save_state();
}

Result<> Supervisor::make_files() {
  ASSIGN_OR_RETURN(credentials_, write_credentials(directory_, shape_));
  ASSIGN_OR_RETURN(auto cgroups, ControllerTrees::create());
  cgroups_.emplace(std::move(cgroups));
  state_.cgroup = cgroups_->name();
  // From here on a kill leaves cgroups, which `down` finds by their name.
  RETURN_IF_ERROR(save_state());
  for (int node = 1; node <= shape_.nodes; ++node) {
    ASSIGN_OR_RETURN(auto cgroup, cgroups_->make(node_name(node)));
    RETURN_IF_ERROR(write_node_files(directory_, tools_, shape_, node, cgroup));
  }
  return {};
}

Result<> Supervisor::make_network() {
  ASSIGN_OR_RETURN(auto root, Sandbox::create());
  root_.emplace(std::move(root));
  state_.root = root_->init();
  const auto plans = wire(shape_);
  std::vector<std::string> names;
  for (const auto& plan : plans) names.push_back(plan.name);
  ASSIGN_OR_RETURN(namespaces_, root_->make_netns(names));
  // All sysctls before any interface, because `default` is copied when an interface is made.
  for (const auto& plan : plans) {
    RETURN_IF_ERROR(root_->inside(netns(plan.name), [&] { return write_sysctls(plan.sysctls); }));
  }
  for (const auto& plan : plans) {
    if (auto done = root_->ip({.netns = netns(plan.name)}, plan.ip_batch); !done) {
      return base::in_context(std::move(done).error(), "{}", plan.name);
    }
  }
  return {};
}

Result<> Supervisor::make_nodes() {
  for (int node = 1; node <= shape_.nodes; ++node) {
    const auto name = node_name(node);
    auto made = Sandbox::create({.within = &*root_,
                                 .netns = netns(name),
                                 .init = node_init(directory_, tools_, shape_, node)});
    if (!made) return base::in_context(std::move(made).error(), "{}", name);
    nodes_.push_back(std::move(*made));
    state_.nodes.push_back(
        {.name = name, .address = addresses::node(node), .init = nodes_.back().init()});
    RETURN_IF_ERROR(
        components_.start(containerd_component(directory_, tools_, node), nodes_.back(), {}));
  }
  return {};
}

Result<> Supervisor::start_api_server() {
  ASSIGN_OR_RETURN(const auto address, base::IpAddress::parse(addresses::control_plane));
  const base::Endpoint server{.address = address, .port = addresses::api_server_port};
  ASSIGN_OR_RETURN(relay_, Relay::start(server, [this](const auto& work) {
                     return root_->inside(netns(control_plane_netns), work);
                   }));
  state_.port = relay_->port();
  RETURN_IF_ERROR(write_kubeconfig(directory_, shape_, credentials_, relay_->port()));
  ASSIGN_OR_RETURN(auto client, ApiClient::create(relay_->port(), credentials_.authority,
                                                  credentials_.administrator));
  api_.emplace(std::move(client));
  for (const auto& plan : api_server_components(directory_, tools_)) {
    RETURN_IF_ERROR(components_.start(plan, *root_, {.netns = netns(control_plane_netns)}));
  }
  return {};
}

Result<> Supervisor::take_in_images() {
  for (const auto& node : nodes_) {
    const auto socket = fmt::format("/proc/{}/root{}", node.init(), containerd_socket);
    RETURN_IF_ERROR(wait_until("containerd to listen", step_patience, [&]() -> Result<bool> {
      return ::access(socket.c_str(), F_OK) == 0;
    }));
  }
  const auto run = [this](int node, const std::vector<std::string>& argv) -> Result<> {
    RETURN_IF_ERROR(pause(base::Duration::zero()));
    RETURN_IF_ERROR(nodes_[static_cast<std::size_t>(node - 1)].run({}, argv, {}, import_patience));
    return {};
  };
  RETURN_IF_ERROR(import_images(directory_, tools_, shape_, run));
  return {};
}

Result<> Supervisor::start_controllers() {
  for (const auto& plan : controller_components(directory_, tools_)) {
    RETURN_IF_ERROR(components_.start(plan, *root_, {.netns = netns(control_plane_netns)}));
  }
  return {};
}

Result<> Supervisor::make_addons() {
  const auto folders = definition_folders(tools_, shape_);
  if (folders.empty()) return {};
  // Those that are long take a busy server its time; one that is there already is no error.
  RETURN_IF_ERROR(wait_until("the API server to take the addons' definitions", step_patience,
                             [&]() -> Result<bool> {
                               for (const auto& folder : folders) {
                                 RETURN_IF_ERROR(create_definitions(*api_, folder));
                               }
                               return true;
                             }));
  RETURN_IF_ERROR(wait_until("the addons' definitions", step_patience, [&]() -> Result<bool> {
    ASSIGN_OR_RETURN(const auto definitions, api_->get(std::string(definitions_path)));
    const auto lack = what_definitions_lack(definitions);
    if (!lack.empty()) return base::fail(ErrorKind::timed_out, "{}", lack);
    return true;
  }));
  ASSIGN_OR_RETURN(const auto objects, addon_objects(tools_, shape_));
  // Of what is Established, the API server takes a moment to know.
  const auto make_all = [&]() -> Result<bool> {
    for (const auto& [path, object] : objects) {
      RETURN_IF_ERROR(api_->create_object(path, object));
    }
    return true;
  };
  RETURN_IF_ERROR(wait_until("the addons' objects", step_patience, make_all));
  if (shape_.mesh != Mesh::none) {
    const auto file = corefile_path(directory_);
    RETURN_IF_ERROR(write_plain_file(file, corefile(directory_)));
    RETURN_IF_ERROR(components_.start(coredns_component(directory_, tools_), *root_,
                                      {.netns = netns(control_plane_netns)}));
  }
  if (shape_.bgp == Bgp::none) return {};
  return components_.start(metallb_controller_component(directory_, tools_), *root_,
                           {.netns = netns(control_plane_netns)});
}

Result<> Supervisor::start_kubelets() {
  for (int node = 1; node <= shape_.nodes; ++node) {
    RETURN_IF_ERROR(api_->create_object("/api/v1/nodes", node_object(shape_, node)));
    const auto& sandbox = nodes_[static_cast<std::size_t>(node - 1)];
    for (const auto& plan : node_components(directory_, tools_, shape_, node)) {
      RETURN_IF_ERROR(components_.start(plan, sandbox, {}));
    }
  }
  return save_state();
}

Result<> Supervisor::wait_until_nodes_are_ready() {
  RETURN_IF_ERROR(wait_until("the nodes to be Ready", step_patience, [&]() -> Result<bool> {
    ASSIGN_OR_RETURN(const auto nodes, api_->get("/api/v1/nodes"));
    const auto lack = what_nodes_lack(nodes, shape_.nodes);
    if (!lack.empty()) return base::fail(ErrorKind::timed_out, "{}", lack);
    return true;
  }));
  RETURN_IF_ERROR(api_->create_object("/api/v1/namespaces/kube-system/configmaps",
                                      kube_proxy_config_map(shape_)));
  // A bare pod is refused as long as its namespace has none.
  return wait_until("the default service account", step_patience, [&]() -> Result<bool> {
    RETURN_IF_ERROR(api_->get("/api/v1/namespaces/default/serviceaccounts/default"));
    return true;
  });
}

Result<> Supervisor::wait_until_proxies_have_synced() {
  for (int node = 1; node <= shape_.nodes; ++node) {
    const auto what = fmt::format("kube-proxy of {} to write its rules", node_name(node));
    RETURN_IF_ERROR(wait_until(what, step_patience, [&]() -> Result<bool> {
      ASSIGN_OR_RETURN(const auto answer,
                       ask(node_name(node), addresses::proxy_metrics_port, "/metrics"));
      return proxy_has_synced(answer.body);
    }));
  }
  return {};
}

Result<> Supervisor::wait_until_addons_are_ready() {
  if (shape_.cni == Cni::calico) {
    for (int node = 1; node <= shape_.nodes; ++node) {
      const auto what = fmt::format("Felix of {} to be ready", node_name(node));
      RETURN_IF_ERROR(wait_until(what, step_patience, [&]() -> Result<bool> {
        ASSIGN_OR_RETURN(const auto answer,
                         ask(node_name(node), addresses::felix_health_port, "/readiness"));
        return is_success(answer.status);
      }));
    }
  }
  if (shape_.mesh != Mesh::none) {
    RETURN_IF_ERROR(wait_until("the cluster's DNS", step_patience, [&]() -> Result<bool> {
      ASSIGN_OR_RETURN(const auto answer,
                       ask(control_plane_netns, addresses::dns_ready_port, "/ready"));
      return is_success(answer.status);
    }));
  }
  if (shape_.bgp == Bgp::none) return {};
  std::vector<std::string> places{std::string(control_plane_netns)};
  for (int node = 1; node <= shape_.nodes; ++node) places.push_back(node_name(node));
  for (const auto& place : places) {
    const auto what = fmt::format("MetalLB of {} to read its configuration", place);
    RETURN_IF_ERROR(wait_until(what, step_patience, [&]() -> Result<bool> {
      ASSIGN_OR_RETURN(const auto answer, ask(place, addresses::metallb_metrics_port, "/metrics"));
      return metallb_has_loaded(answer.body);
    }));
  }
  return {};
}

Result<base::http::Response> Supervisor::ask(std::string_view in, int port,
                                             std::string_view path) const {
  const auto url = fmt::format("http://127.0.0.1:{}{}", port, path);
  Result<base::http::Response> answer = base::http::Response();
  RETURN_IF_ERROR(root_->inside(netns(in), [&]() -> Result<> {
    answer = base::http::exchange({.method = "GET", .url = url}, answer_patience);
    return {};
  }));
  return answer;
}

Result<> Supervisor::wait_until(std::string_view what, base::Duration patience,
                                const std::function<Result<bool>()>& is_so) {
  const auto deadline = base::monotonic_now() + patience;
  while (true) {
    const auto answer = is_so();
    if (answer && *answer) return {};
    if (base::monotonic_now() > deadline) {
      return base::fail(ErrorKind::timed_out, "cluster {}: waited {:.0f} s for {}{}{}", shape_.name,
                        seconds(patience), what, answer ? "" : ": ",
                        answer ? "" : answer.error().message);
    }
    RETURN_IF_ERROR(pause(between_questions));
  }
}

Result<> Supervisor::pause(base::Duration span) {
  std::vector<pollfd> watched{{.fd = stop_.interrupt_fd, .events = POLLIN, .revents = 0},
                              {.fd = stop_.waiting_fd, .events = 0, .revents = 0}};
  components_.add_to(watched);
  const auto milliseconds = std::chrono::ceil<std::chrono::milliseconds>(span).count();
  if (::poll(watched.data(), watched.size(), static_cast<int>(milliseconds)) < 0 &&
      errno != EINTR) {
    return base::system_error(errno, "poll");
  }
  if (watched[0].revents != 0 || watched[1].revents != 0) {
    return base::fail(ErrorKind::interrupted, "cluster {}: interrupted", shape_.name);
  }
  return note_ended_components();
}

Result<> Supervisor::note_ended_components() {
  const auto ended = components_.take_ended();
  if (ended.empty()) return {};
  if (state_.phase != Phase::starting) {
    state_.phase = Phase::degraded;
    return save_state();
  }
  const auto& first = ended.front();
  return base::fail_with_mend(
      ErrorKind::system,
      fmt::format("cluster {}: {} ended while the cluster started: {}\n{}", shape_.name, first.name,
                  first.ended.value_or(""), first.last_words.value_or("")),
      fmt::format("All it said is in {}", directory_.log(first.name)));
}

Result<> Supervisor::watch() {
  stop_.waiting_fd = -1;
  while (true) {
    auto paused = pause(between_looks_at_logs);
    if (!paused && paused.error().kind == ErrorKind::interrupted) return {};
    RETURN_IF_ERROR(std::move(paused));
    components_.trim_logs();
  }
}

Result<> Supervisor::end() {
  if (!lock_) return {};
  state_.phase = Phase::ending;
  std::ignore = save_state();
  api_.reset();
  Result<> outcome;
  const auto note = [&outcome](Result<> done) {
    if (!done && outcome) outcome = std::move(done);
  };
  relay_.reset();
  note(components_.end());
  for (auto& node : nodes_) note(node.end());
  nodes_.clear();
  namespaces_.clear();
  if (root_) note(root_->end());
  root_.reset();
  if (cgroups_) note(cgroups_->remove());
  cgroups_.reset();
  if (outcome) note(remove_remains(directory_, keeps_logs_));
  if (outcome && !keeps_logs_) note(remove_directory(directory_));
  lock_.reset();
  return outcome;
}

Result<> Supervisor::save_state() {
  state_.components = components_.states();
  return write_state(directory_, state_);
}

int Supervisor::netns(std::string_view name) const {
  const auto found = std::ranges::find(namespaces_, name, &Netns::name);
  return found == namespaces_.end() ? -1 : found->fd();
}

}  // namespace cluster::processes
