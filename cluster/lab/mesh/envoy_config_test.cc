#include "cluster/lab/mesh/envoy_config.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cluster {
namespace {

using base::Json;
using base::kube::MtlsMode;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

base::Endpoint at(const char* text) { return *base::Endpoint::parse(text); }

ProxySpec example() {
  ProxySpec spec{.pod = "client-0",
                 .in_namespace = "shop",
                 .account = "client",
                 .address = "10.244.1.2",
                 .directory = "/run/mesh/env/1"};
  spec.services = {{.host = "web.shop.svc.cluster.local",
                    .address = at("10.96.0.11:8001"),
                    .endpoints = {{at("10.244.2.2:7001"), true}, {at("10.244.2.3:7001"), false}},
                    .identities = {spiffe_id("shop", "web")}},
                   {.host = "web.shop.svc.cluster.local",
                    .address = at("10.96.0.11:8004"),
                    .protocol = ProxiedProtocol::http,
                    .endpoints = {{at("10.244.2.2:7004"), true}},
                    .identities = {spiffe_id("shop", "web")}}};
  return spec;
}

Json resources(const ProxySpec& spec, std::string_view file) {
  return proxy_files(spec, 7).at(std::string(file)).at("resources");
}

Json cluster_of(const ProxySpec& spec, std::string_view name) {
  for (const auto& cluster : resources(spec, clusters_file)) {
    if (cluster.at("name") == name) return cluster;
  }
  return {};
}

// The names of a listener's chains that could take a connection to `port`: those of the port, else
// those of any.
std::vector<std::string> inbound_chains(const ProxySpec& spec, std::uint16_t port) {
  std::vector<std::string> own;
  std::vector<std::string> any;
  const auto listeners = resources(spec, listeners_file);
  for (const auto& chain : listeners.at(1).at("filter_chains")) {
    const auto& match = chain.at("filter_chain_match");
    const auto wanted = match.find("destination_port");
    if (wanted == match.end()) {
      any.push_back(chain.at("name"));
    } else if (*wanted == port) {
      own.push_back(chain.at("name"));
    }
  }
  return own.empty() ? any : own;
}

TEST(EnvoyConfig, SaysWhichVersionItIs) {
  const auto files = proxy_files(example(), 7);
  EXPECT_EQ(files.at("listeners.json").at("version_info"), "7");
  EXPECT_EQ(files.at("clusters.json").at("version_info"), "7");
  EXPECT_TRUE(files.contains("bootstrap.json"));
}

TEST(EnvoyConfig, AServiceIsDialledWithItsNameAndItsPodsIdentities) {
  const auto cluster = cluster_of(example(), "outbound|8001||web.shop.svc.cluster.local");
  const auto& tls = cluster.at("transport_socket_matches").at(0).at("transport_socket");
  const auto& config = tls.at("typed_config");
  EXPECT_EQ(config.at("sni"), "outbound_.8001_._.web.shop.svc.cluster.local");
  const auto& common = config.at("common_tls_context");
  EXPECT_EQ(common.at("alpn_protocols"), Json({"istio-peer-exchange", "istio"}));
  EXPECT_EQ(common.at("combined_validation_context")
                .at("default_validation_context")
                .at("match_typed_subject_alt_names")
                .at(0)
                .at("matcher")
                .at("exact"),
            "spiffe://cluster.local/ns/shop/sa/web");
  EXPECT_FALSE(config.contains("max_session_keys"));
}

TEST(EnvoyConfig, HttpOffersIstiosHttp) {
  const auto cluster = cluster_of(example(), "outbound|8004||web.shop.svc.cluster.local");
  EXPECT_EQ(cluster.at("transport_socket_matches")
                .at(0)
                .at("transport_socket")
                .at("typed_config")
                .at("common_tls_context")
                .at("alpn_protocols"),
            Json({"istio-http/1.1", "istio", "http/1.1"}));
}

TEST(EnvoyConfig, Http2IsSpokenToTheServersProxyAndToTheApplication) {
  auto spec = example();
  spec.services[1].protocol = ProxiedProtocol::http2;
  spec.ports = {{.port = 7004, .protocol = ProxiedProtocol::http2, .mode = MtlsMode::STRICT},
                {.port = 7005, .protocol = ProxiedProtocol::http, .mode = MtlsMode::STRICT}};
  const auto speaks_http2 = [&](std::string_view name) {
    const auto cluster = cluster_of(spec, name);
    const auto options = cluster.find("typed_extension_protocol_options");
    return options != cluster.end() &&
           options->front().at("explicit_http_config").contains("http2_protocol_options");
  };
  EXPECT_TRUE(speaks_http2("outbound|8004||web.shop.svc.cluster.local"));
  EXPECT_TRUE(speaks_http2("inbound|7004||"));
  EXPECT_FALSE(speaks_http2("outbound|8001||web.shop.svc.cluster.local"));
  EXPECT_FALSE(speaks_http2("inbound|7005||"));
  const auto cluster = cluster_of(spec, "outbound|8004||web.shop.svc.cluster.local");
  EXPECT_EQ(cluster.at("transport_socket_matches")
                .at(0)
                .at("transport_socket")
                .at("typed_config")
                .at("common_tls_context")
                .at("alpn_protocols"),
            Json({"istio-h2", "istio", "h2"}));
  // It is a matter of requests, not of connections.
  EXPECT_THAT(base::dump_json(resources(spec, listeners_file)), HasSubstr("\"outbound_8004\""));
}

TEST(EnvoyConfig, APodWithoutAProxyIsDialledInTheClear) {
  const auto cluster = cluster_of(example(), "outbound|8001||web.shop.svc.cluster.local");
  const auto& endpoints = cluster.at("load_assignment").at("endpoints").at(0).at("lb_endpoints");
  ASSERT_EQ(endpoints.size(), 2);
  EXPECT_TRUE(endpoints.at(0).contains("metadata"));
  EXPECT_FALSE(endpoints.at(1).contains("metadata"));
  auto spec = example();
  for (auto& endpoint : spec.services[1].endpoints) endpoint.mutual_tls = false;
  const auto plain = cluster_of(spec, "outbound|8004||web.shop.svc.cluster.local");
  EXPECT_FALSE(plain.contains("transport_socket_matches"));
}

TEST(EnvoyConfig, WithoutResumptionNeitherSideKeepsSessions) {
  auto spec = example();
  spec.ports = {{.port = 7001, .mode = MtlsMode::STRICT}};
  spec.session_resumption = SessionResumption::off;
  const auto cluster = cluster_of(spec, "outbound|8001||web.shop.svc.cluster.local");
  EXPECT_EQ(cluster.at("transport_socket_matches")
                .at(0)
                .at("transport_socket")
                .at("typed_config")
                .at("max_session_keys"),
            0);
  const auto text = base::dump_json(resources(spec, listeners_file));
  EXPECT_THAT(text, HasSubstr("\"disable_stateless_session_resumption\":true"));
  EXPECT_THAT(text, HasSubstr("\"disable_stateful_session_resumption\":true"));
  spec.session_resumption = SessionResumption::on;
  EXPECT_THAT(base::dump_json(resources(spec, listeners_file)),
              Not(HasSubstr("session_resumption")));
}

TEST(EnvoyConfig, AnyAuthorityIsTrustedOnlyWhereThatIsPlanted) {
  auto spec = example();
  spec.ports = {{.port = 7001, .mode = MtlsMode::STRICT}};
  EXPECT_THAT(base::dump_json(resources(spec, listeners_file)), Not(HasSubstr("ACCEPT_UNTRUSTED")));
  spec.trusts_any_ca = true;
  EXPECT_THAT(base::dump_json(resources(spec, listeners_file)), HasSubstr("ACCEPT_UNTRUSTED"));
  EXPECT_THAT(base::dump_json(resources(spec, clusters_file)), Not(HasSubstr("ACCEPT_UNTRUSTED")))
      << "servers are still judged by their clients";
}

TEST(EnvoyConfig, OneRequestInSoManyLeavesInTheClearOnlyWhereThatIsPlanted) {
  auto spec = example();
  EXPECT_THAT(base::dump_json(resources(spec, listeners_file)), Not(HasSubstr("weighted")));
  spec.plaintext_one_in = 1000;
  const std::string service = "outbound|8004||web.shop.svc.cluster.local";
  EXPECT_TRUE(cluster_of(spec, service).contains("transport_socket_matches"));
  EXPECT_FALSE(cluster_of(spec, service + "|plaintext").contains("transport_socket_matches"));
  // By requests of HTTP and by connections of anything else.
  for (const auto* port : {"8001", "8004"}) {
    EXPECT_THAT(
        base::dump_json(resources(spec, listeners_file)),
        HasSubstr(fmt::format(
            R"("weighted_clusters":{{"clusters":[{{"name":"outbound|{0}||web.shop.svc.cluster.local|plaintext","weight":1}},{{"name":"outbound|{0}||web.shop.svc.cluster.local","weight":999}}]}})",
            port)));
  }
}

TEST(EnvoyConfig, ClustersOfOtherConnectionsAreOthersAndListenersAreNot) {
  auto spec = example();
  const auto clusters = resources(spec, clusters_file);
  const auto listeners = resources(spec, listeners_file);
  ++spec.connections_of;
  EXPECT_NE(resources(spec, clusters_file).at(0), clusters.at(0));
  EXPECT_EQ(resources(spec, listeners_file), listeners);
}

TEST(EnvoyConfig, TheModeSaysWhichConnectionsAPortTakes) {
  auto spec = example();
  spec.ports = {{.port = 7001, .mode = MtlsMode::STRICT},
                {.port = 7002, .mode = MtlsMode::PERMISSIVE},
                {.port = 7003, .mode = MtlsMode::DISABLE}};
  spec.other_ports = MtlsMode::STRICT;
  EXPECT_THAT(inbound_chains(spec, 7001), ElementsAre("inbound|7001|| mutual TLS"));
  EXPECT_THAT(inbound_chains(spec, 7002),
              ElementsAre("inbound|7002|| mutual TLS", "inbound|7002|| plaintext",
                          "inbound|7002|| the application's own TLS"));
  EXPECT_THAT(inbound_chains(spec, 7003), ElementsAre("inbound|7003||"));
  EXPECT_THAT(inbound_chains(spec, 9999), ElementsAre("virtualInbound mutual TLS"));
  spec.other_ports = MtlsMode::DISABLE;
  EXPECT_THAT(inbound_chains(spec, 9999), ElementsAre("virtualInbound"));
}

TEST(EnvoyConfig, APortsProtocolIsTheBeginningOfItsName) {
  EXPECT_EQ(proxied_protocol("http"), ProxiedProtocol::http);
  EXPECT_EQ(proxied_protocol("http-web"), ProxiedProtocol::http);
  EXPECT_EQ(proxied_protocol("http2"), ProxiedProtocol::http2);
  EXPECT_EQ(proxied_protocol("http2-web"), ProxiedProtocol::http2);
  EXPECT_EQ(proxied_protocol("https"), ProxiedProtocol::tcp);
  EXPECT_EQ(proxied_protocol("tcp-rr"), ProxiedProtocol::tcp);
  EXPECT_EQ(proxied_protocol(""), ProxiedProtocol::tcp);
}

}  // namespace
}  // namespace cluster
