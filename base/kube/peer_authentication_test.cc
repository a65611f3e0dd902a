#include "base/kube/peer_authentication.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace base::kube {
namespace {

Json strict() {
  return {{"apiVersion", "security.istio.io/v1"},
          {"kind", "PeerAuthentication"},
          {"metadata", {{"name", "default"}, {"namespace", "istio-system"}}},
          {"spec", {{"mtls", {{"mode", "STRICT"}}}}}};
}

std::string refused(const Json& object) {
  const auto read = read_peer_authentication(object);
  return read ? "taken" : read.error().message;
}

TEST(PeerAuthentication, ReadsWhatItWrites) {
  auto object = strict();
  object["spec"]["selector"]["matchLabels"]["app"] = "web";
  object["spec"]["portLevelMtls"]["7001"]["mode"] = "DISABLE";
  const auto read = read_peer_authentication(object);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_TRUE(selects_workloads(*read));
  EXPECT_EQ(read->spec.mtls->mode, MtlsMode::STRICT);
  EXPECT_EQ(read->spec.port_level_mtls.at("7001").mode, MtlsMode::DISABLE);
  EXPECT_EQ(read_peer_authentication(to_json(*read)), read);
}

TEST(PeerAuthentication, OneThatSelectsNothingInParticularIsItsNamespaces) {
  auto object = strict();
  EXPECT_FALSE(selects_workloads(*read_peer_authentication(object)));
  object["spec"]["selector"] = Json::object();
  EXPECT_FALSE(selects_workloads(*read_peer_authentication(object)));
}

TEST(PeerAuthentication, SaysWhatIstioWouldRefuse) {
  auto ports = strict();
  ports["spec"]["portLevelMtls"]["7001"]["mode"] = "DISABLE";
  EXPECT_THAT(refused(ports), testing::HasSubstr("spec.portLevelMtls: needs a selector"));
  ports["spec"]["selector"]["matchLabels"]["app"] = "web";
  EXPECT_EQ(refused(ports), "taken");
  for (const char* port : {"0", "65536", "http", "80x"}) {
    auto odd = ports;
    odd["spec"]["portLevelMtls"][port]["mode"] = "STRICT";
    EXPECT_THAT(refused(odd), testing::HasSubstr("expected ports")) << port;
  }
  auto mode = strict();
  mode["spec"]["mtls"]["mode"] = "strict";
  EXPECT_THAT(refused(mode), testing::HasSubstr("spec.mtls.mode"));
  auto version = strict();
  version["apiVersion"] = "v1";
  EXPECT_THAT(refused(version), testing::HasSubstr("apiVersion: expected security.istio.io/v1"));
}

}  // namespace
}  // namespace base::kube
