#include "cluster/lab/datapath/ebpf_socket.h"

#include <array>
#include <atomic>
#include <random>
#include <utility>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>

#include "base/bpf/bpf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "cluster/lab/datapath/ebpf_socket.skel.h"

namespace cluster {
namespace {

static_assert(sizeof(SocketPeer) == 32);
static_assert(sizeof(SocketFlow) == 32);

struct DestroyLink {
  void operator()(bpf_link* link) const { ::bpf_link__destroy(link); }
};
using UniqueLink = std::unique_ptr<bpf_link, DestroyLink>;

class EbpfSocketDatapath final : public WholeTableDatapath {
 public:
  static base::Result<std::unique_ptr<Datapath>> make(const std::vector<DatapathNode>& nodes) {
    std::unique_ptr<EbpfSocketDatapath> datapath(new EbpfSocketDatapath);
    ASSIGN_OR_RETURN(datapath->skeleton_, base::open_skeleton<ebpf_socket_bpf>("ebpf_socket"));
    std::random_device random;
    datapath->skeleton_->rodata->seed = std::uint64_t{random()} << 32 | random();
    RETURN_IF_ERROR(base::load_skeleton(*datapath->skeleton_, "ebpf_socket"));
    datapath->nodes_ = nodes;
    RETURN_IF_ERROR(datapath->publish({}));
    for (const auto& node : nodes) RETURN_IF_ERROR(datapath->attach(node));
    return datapath;
  }

  [[nodiscard]] base::Json facts() const override;

 private:
  EbpfSocketDatapath() = default;

  base::Result<> attach(const DatapathNode& node);
  base::Result<> publish(const ServiceTable& table) override;
  [[nodiscard]] std::array<bpf_program*, 8> programs() const;

  base::UniqueSkeleton<ebpf_socket_bpf> skeleton_;
  std::vector<DatapathNode> nodes_;
  std::vector<UniqueLink> links_;
  std::int64_t load_ns_ = 0;      // of the last table
  std::int64_t table_bytes_ = 0;  // its elements
};

std::array<bpf_program*, 8> EbpfSocketDatapath::programs() const {
  const auto& progs = skeleton_->progs;
  return {progs.connect4, progs.connect6, progs.sendmsg4,     progs.sendmsg6,
          progs.recvmsg4, progs.recvmsg6, progs.getpeername4, progs.getpeername6};
}

base::Result<> EbpfSocketDatapath::attach(const DatapathNode& node) {
  if (node.cgroup.empty()) {
    return base::fail(base::ErrorKind::input, "ebpf_socket: {} has no cgroup to hook", node.name);
  }
  const base::UniqueFd cgroup(::open(node.cgroup.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!cgroup) return base::system_error(errno, "ebpf_socket: open {}", node.cgroup);
  for (bpf_program* program : programs()) {
    const base::BpfMessages messages;
    UniqueLink link(::bpf_program__attach_cgroup(program, cgroup.get()));
    if (!link) {
      const int code = errno;
      auto failed = messages.error(code, fmt::format("ebpf_socket: attach {} to {}",
                                                     ::bpf_program__name(program), node.cgroup));
      if (code == EBADF) {
        failed.error().kind = base::ErrorKind::missing;
        failed.error().mend =
            "The directory must be in a cgroup2 hierarchy; see `stackbench doctor`.";
      }
      return failed;
    }
    links_.push_back(std::move(link));
  }
  return {};
}

base::Result<> EbpfSocketDatapath::publish(const ServiceTable& table) {
  const auto begun = base::monotonic_now();
  RETURN_IF_ERROR(check_services("ebpf_socket", table, nodes_));
  auto bytes = publish_services(::bpf_map__fd(skeleton_->maps.tables), services_inside,
                                offered_inside(table, nodes_));
  if (!bytes) return base::in_context(std::move(bytes).error(), "ebpf_socket");
  // Only now: whoever sees the new number started after the swap and so sees the new table.
  std::atomic_ref(skeleton_->bss->generation).fetch_add(1);
  load_ns_ = (base::monotonic_now() - begun).count();
  table_bytes_ = *bytes;
  return {};
}

base::Json EbpfSocketDatapath::facts() const {
  std::size_t backends = 0;
  for (const auto& entry : table().entries) backends += entry.backends.size();
  base::Json hooks = base::Json::object();
  for (const bpf_program* program : programs()) {
    if (const auto cost = base::program_cost(::bpf_program__fd(program))) {
      hooks[::bpf_program__name(program)] = {{"run_count", cost->run_count},
                                             {"run_time_ns", cost->run_time_ns}};
    }
  }
  return {{"attached_to", "cgroup2"},
          {"links", links_.size()},
          {"libbpf", fmt::format("{}.{}", ::libbpf_major_version(), ::libbpf_minor_version())},
          {"service_ports", table().entries.size()},
          {"backends", backends},
          {"load_ns", load_ns_},
          {"kernel_memory_bytes", table_bytes_},
          {"sockets_remembered", SOCKETS_REMEMBERED},
          {"hooks", std::move(hooks)}};
}

}  // namespace

base::Result<std::unique_ptr<Datapath>> make_ebpf_socket_datapath(
    const std::vector<DatapathNode>& nodes) {
  return EbpfSocketDatapath::make(nodes);
}

}  // namespace cluster
