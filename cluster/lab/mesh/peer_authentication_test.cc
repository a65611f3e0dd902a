#include "cluster/lab/mesh/peer_authentication.h"

#include <gtest/gtest.h>

namespace cluster {
namespace {

using base::kube::MtlsMode;
using base::kube::PeerAuthentication;

PeerAuthentication policy(std::string in_namespace, MtlsMode mode,
                          std::map<std::string, std::string> labels = {},
                          std::map<std::string, MtlsMode> ports = {}) {
  PeerAuthentication made;
  made.metadata.name = "any";
  made.metadata.in_namespace = std::move(in_namespace);
  made.spec.mtls = base::kube::MutualTls{mode};
  if (!labels.empty()) made.spec.selector = base::kube::WorkloadSelector{std::move(labels)};
  for (const auto& [port, its] : ports) made.spec.port_level_mtls[port] = {its};
  return made;
}

const std::map<std::string, std::string> web = {{"app", "web"}};

EffectiveMtls of_web(const std::vector<PeerAuthentication>& policies) {
  return effective_mtls(policies, "shop", web);
}

TEST(PeerAuthentication, WithoutAnyEitherIsTaken) {
  EXPECT_EQ(of_web({}).mode, MtlsMode::PERMISSIVE);
  EXPECT_EQ(of_web({policy("istio-system", MtlsMode::UNSET)}).mode, MtlsMode::PERMISSIVE);
}

TEST(PeerAuthentication, TheNamespaceOverrulesTheMeshAndThePodBoth) {
  const auto mesh = policy("istio-system", MtlsMode::STRICT);
  const auto its = policy("shop", MtlsMode::PERMISSIVE);
  const auto pods = policy("shop", MtlsMode::DISABLE, web);
  EXPECT_EQ(of_web({mesh}).mode, MtlsMode::STRICT);
  EXPECT_EQ(of_web({mesh, its}).mode, MtlsMode::PERMISSIVE);
  EXPECT_EQ(of_web({pods, its, mesh}).mode, MtlsMode::DISABLE) << "whatever their age";
  EXPECT_EQ(of_web({mesh, policy("shop", MtlsMode::UNSET)}).mode, MtlsMode::STRICT);
}

TEST(PeerAuthentication, OfTheNamespaceAndTheLabelsAlone) {
  const auto mesh = policy("istio-system", MtlsMode::STRICT);
  EXPECT_EQ(of_web({mesh, policy("other", MtlsMode::DISABLE)}).mode, MtlsMode::STRICT);
  EXPECT_EQ(of_web({mesh, policy("shop", MtlsMode::DISABLE, {{"app", "db"}})}).mode,
            MtlsMode::STRICT);
  // One that selects pods is none of the mesh's, where it is in the mesh's namespace.
  EXPECT_EQ(of_web({policy("istio-system", MtlsMode::DISABLE, web)}).mode, MtlsMode::PERMISSIVE);
}

TEST(PeerAuthentication, OfTwoTheOlder) {
  EXPECT_EQ(of_web({policy("shop", MtlsMode::STRICT), policy("shop", MtlsMode::DISABLE)}).mode,
            MtlsMode::STRICT);
}

TEST(PeerAuthentication, APortMayHaveItsOwn) {
  const auto effective = of_web({policy("istio-system", MtlsMode::STRICT),
                                 policy("shop", MtlsMode::UNSET, web,
                                        {{"7001", MtlsMode::DISABLE}, {"7002", MtlsMode::UNSET}})});
  EXPECT_EQ(effective.mode, MtlsMode::STRICT);
  EXPECT_EQ(effective.of(7001), MtlsMode::DISABLE);
  EXPECT_EQ(effective.of(7002), MtlsMode::STRICT) << "inherited";
  EXPECT_EQ(effective.of(80), MtlsMode::STRICT);
}

}  // namespace
}  // namespace cluster
