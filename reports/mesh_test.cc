#include "reports/mesh.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace reports {
namespace {

using testing::HasSubstr;
using testing::Not;

MeshRecord example() {
  return {.costs = {{.of = MeshCostOf::proxies,
                     .workload = "http",
                     .arm = "sidecars_plaintext",
                     .base_arm = "no_proxy",
                     .cpu_per_request_ns = 146'200,
                     .interval = Interval{140'100, 151'900},
                     .blocks = 12},
                    {.of = MeshCostOf::encryption,
                     .workload = "http",
                     .arm = "sidecars_mtls",
                     .base_arm = "sidecars_plaintext",
                     .cpu_per_request_ns = 21'000,
                     .blocks = 4}},
          .proxies = {{.workload = "http",
                       .arm = "sidecars_mtls",
                       .pod = "web-0",
                       .cpu = 1,
                       .cpu_per_request_ns = 81'500,
                       .interval = Interval{80'000, 83'000},
                       .vcpu_per_1000_rps = 0.0815,
                       .memory_bytes = 52'000'000,
                       .handshakes_per_connection = 1,
                       .resumed_share = 0.83,
                       .blocks = 12}}};
}

TEST(MeshText, SaysProxiesAndEncryptionApart) {
  const auto text = mesh_text(example(), {.width = 140});
  EXPECT_THAT(text,
              HasSubstr("proxies     +146.2 us [+140.1, +151.9]  sidecars_plaintext  no_proxy"));
  EXPECT_THAT(text, HasSubstr("encryption  +21.0 us [no interval]"));
  EXPECT_THAT(text, HasSubstr("0.08"));
  EXPECT_THAT(text, HasSubstr("83 %"));
}

TEST(MeshText, HasNoTableOfCostsWhereNothingIsCompared) {
  auto mesh = example();
  mesh.costs.clear();
  EXPECT_THAT(mesh_text(mesh, {.width = 140}), Not(HasSubstr("cost of")));
}

TEST(MeshRecord, IsReadAsItIsWritten) {
  const auto json = base::to_json(example());
  const auto read = base::from_json<MeshRecord>(json, "mesh");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(base::to_json(*read), json);
}

}  // namespace
}  // namespace reports
