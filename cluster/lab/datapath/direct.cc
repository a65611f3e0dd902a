#include "cluster/lab/datapath/direct.h"

namespace cluster {
namespace {

class DirectDatapath : public Datapath {
 public:
  base::Result<> sync(const ServiceTable&) override { return {}; }
  [[nodiscard]] base::Json facts() const override { return {{"datapath", "direct"}}; }
};

}  // namespace

base::Result<std::unique_ptr<Datapath>> make_direct_datapath(const std::vector<DatapathNode>&) {
  return std::make_unique<DirectDatapath>();
}

}  // namespace cluster
