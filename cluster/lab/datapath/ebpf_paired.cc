#include "cluster/lab/datapath/ebpf_paired.h"

#include <utility>

#include "cluster/lab/datapath/ebpf_socket.h"

namespace cluster {
namespace {

class EbpfPairedDatapath final : public Datapath {
 public:
  EbpfPairedDatapath(std::unique_ptr<Datapath> sockets, std::unique_ptr<Datapath> uplinks)
      : sockets_(std::move(sockets)), uplinks_(std::move(uplinks)) {}

  base::Result<> sync(const ServiceTable& table) override {
    RETURN_IF_ERROR(sockets_->sync(table));
    return uplinks_->sync(table);
  }

  [[nodiscard]] base::Json facts() const override {
    auto facts = sockets_->facts();
    auto outside = uplinks_->facts();
    for (const auto* sum : {"load_ns", "kernel_memory_bytes", "links"}) {
      facts[sum] = facts[sum].get<std::int64_t>() + outside[sum].get<std::int64_t>();
    }
    facts["attached_to"] = fmt::format("{} and {}", facts["attached_to"].get<std::string>(),
                                       outside["attached_to"].get<std::string>());
    facts["hooks"].update(outside["hooks"]);
    if (const auto table = outside.find("connection_table"); table != outside.end()) {
      facts["connection_table"] = std::move(*table);
    }
    return facts;
  }

 private:
  std::unique_ptr<Datapath> sockets_;
  std::unique_ptr<Datapath> uplinks_;
};

}  // namespace

base::Result<std::unique_ptr<Datapath>> make_ebpf_paired_datapath(
    const std::vector<DatapathNode>& nodes, const EbpfTcSettings& settings) {
  ASSIGN_OR_RETURN(auto sockets, make_ebpf_socket_datapath(nodes));
  // Pods on the node would answer the node itself where it hides a client from them, and only a
  // program at their interface gives that back.
  ASSIGN_OR_RETURN(auto uplinks, settings.hides_clients ? make_ebpf_tc_datapath(nodes, settings)
                                                        : make_ebpf_tc_uplinks(nodes, settings));
  return std::make_unique<EbpfPairedDatapath>(std::move(sockets), std::move(uplinks));
}

}  // namespace cluster
