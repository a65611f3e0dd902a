// Meshes on clusters: which Istio is found, what a run tells it, what its proxies say, and an
// environment with sidecars on the simulated cluster.
#include "cluster/kubernetes/istio.h"

#include <sstream>

#include <gmock/gmock.h>

#include "cluster/kubernetes/api_error.h"
#include "cluster/kubernetes/manifests.h"
#include "cluster/kubernetes/proxy_stats.h"
#include "cluster/kubernetes/testing/target_fixture.h"

namespace cluster {
namespace {

using base::Json;
using base::kube::MtlsMode;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

Json control_plane(const std::string& name, const std::string& revision, const std::string& image,
                   const Json& environment = Json::array()) {
  const Json container = {{"name", "discovery"}, {"image", image}, {"env", environment}};
  return {{"metadata",
           {{"name", name},
            {"namespace", "istio-system"},
            {"labels", {{"app", "istiod"}, {"istio.io/rev", revision}}}}},
          {"spec", {{"template", {{"spec", {{"containers", Json::array({container})}}}}}}}};
}

Json list(const std::vector<Json>& items) {
  Json all = Json::array();
  for (const auto& item : items) all.push_back(item);
  return {{"items", std::move(all)}};
}
Json some() {
  const Json one = {{"metadata", {{"name", "it"}}}};
  return list({one});
}

TEST(Istio, IsFoundByItsControlPlane) {
  EXPECT_FALSE(istio_of(list({}), some(), some()));
  EXPECT_FALSE(istio_of({}, {}, {}));
  const auto found = istio_of(
      list({control_plane("istiod", "default", "docker.io/istio/pilot:1.28.0")}), {}, some());
  ASSERT_TRUE(found);
  EXPECT_EQ(found->version, "1.28.0");
  EXPECT_EQ(found->source, "image of Deployment istio-system/istiod");
  EXPECT_EQ(found->revision, "");
  EXPECT_TRUE(found->sidecars);
  EXPECT_FALSE(found->ambient);
  EXPECT_THAT(found->without, IsEmpty());
}

TEST(Istio, OfRevisionsIsTheDefaultWhereThereIsOneAndSaysWhatItLeavesOut) {
  const Json settings = {{{"name", "PILOT_ENABLE_METADATA_EXCHANGE"}, {"value", "false"}},
                         {{"name", "PILOT_ENABLE_ALPN_FILTER"}, {"value", "true"}}};
  const auto canary = control_plane("istiod-canary", "canary", "registry:5000/pilot@sha256:1");
  const auto both = istio_of(
      list({canary, control_plane("istiod", "default", "registry:5000/pilot:1.31", settings)}),
      some(), some());
  ASSERT_TRUE(both);
  EXPECT_EQ(both->control_plane, "istiod");
  EXPECT_EQ(both->version, "1.31");
  EXPECT_TRUE(both->ambient);
  EXPECT_THAT(both->without, ElementsAre("metadata exchange"));
  const auto one = istio_of(list({canary}), {}, some());
  ASSERT_TRUE(one);
  EXPECT_EQ(one->revision, "canary");
  EXPECT_EQ(one->version, "") << "a port is no tag";
}

TEST(Istio, ThatIsNotThereOrInjectsNothingIsAReason) {
  EXPECT_THAT(why_no_sidecars(std::nullopt).value_or(""),
              AllOf(HasSubstr("no Istio"), HasSubstr("stackbench up --mesh istio")));
  EXPECT_THAT(why_no_sidecars(IstioFacts{.source = "forbidden"}).value_or(""),
              HasSubstr("no Istio was found here: forbidden"));
  IstioFacts facts{.version = "1.28.0", .control_plane = "istiod", .ambient = true};
  EXPECT_THAT(why_no_sidecars(facts).value_or(""),
              AllOf(HasSubstr("Istio 1.28.0 injects no sidecars"), HasSubstr("ambient")));
  facts.sidecars = true;
  EXPECT_FALSE(why_no_sidecars(facts));
}

TEST(Istio, IsNotAskedForWhatItIsNotTold) {
  MeshPlan mesh;
  EXPECT_FALSE(why_not_told(mesh));
  mesh.certificates_last = std::chrono::seconds(20);
  EXPECT_FALSE(why_not_told(mesh));
  mesh.spec.objects.push_back({{"kind", "VirtualService"}});
  EXPECT_THAT(why_not_told(mesh).value_or(""),
              HasSubstr("kind VirtualService (run it in the lab)"));
  mesh.spec.objects = {{{"kind", "PeerAuthentication"}, {"metadata", {{"namespace", "other"}}}}};
  EXPECT_FALSE(why_not_told(mesh));
  EXPECT_TRUE(has_mode_of_its_own(mesh, "other"));
  EXPECT_FALSE(has_mode_of_its_own(mesh, "default"));
  mesh.rotates_root = true;
  EXPECT_THAT(why_not_told(mesh).value_or(""), HasSubstr("--set rotation.rotate_root=false"));
}

std::vector<std::string> resources_of(const std::vector<MeshObject>& objects) {
  std::vector<std::string> all;
  for (const auto& one : objects) all.push_back(one.resource);
  return all;
}

// Which chains an EnvoyFilter changes.
std::string chains_of(const MeshObject& filter) {
  std::string all;
  for (const auto& patch : filter.object["spec"]["configPatches"]) {
    all += patch["match"]["listener"]["filterChain"].dump();
  }
  return all;
}

TEST(Istio, IsToldWhatHoldsInANamespace) {
  auto plan = testing::plan_of();
  plan.ports.push_back({"http", base::Protocol::TCP, 8002, 9002});
  const auto objects_of = [&](const MeshSpec& spec) {
    plan.mesh = MeshPlan{.spec = spec};
    return mesh_objects(plan, "it");
  };
  const auto strict =
      objects_of({.mode = MtlsMode::STRICT, .session_resumption = SessionResumption::off});
  EXPECT_THAT(resources_of(strict),
              ElementsAre("peerauthentications", "destinationrules", "envoyfilters"));
  EXPECT_EQ(strict[0].object["spec"]["mtls"]["mode"], "STRICT");
  EXPECT_EQ(strict[0].object["metadata"]["namespace"], "it");
  EXPECT_EQ(strict[1].object["spec"]["host"], "*.it.svc.cluster.local");
  EXPECT_FALSE(strict[1].object["spec"]["trafficPolicy"].contains("tls"))
      << "proxies find out by themselves, as Istio's users have it";
  const auto& context =
      strict[2]
          .object["spec"]["configPatches"][0]["patch"]["value"]["transport_socket"]["typed_config"];
  EXPECT_EQ(context["disable_stateless_session_resumption"], true);
  EXPECT_EQ(chains_of(strict[2]), R"({"destinationPort":9001,"transportProtocol":"tls"})"
                                  R"({"destinationPort":9002,"transportProtocol":"tls"})");

  // Where plaintext is taken, too, another chain passes on any TLS, and must not be told.
  plan.faults = {FaultKind::port_left_out_of_strict};
  EXPECT_EQ(
      chains_of(
          objects_of({.mode = MtlsMode::STRICT, .session_resumption = SessionResumption::off})[2]),
      R"({"destinationPort":9001,"transportProtocol":"tls","applicationProtocols":"istio"})"
      R"({"destinationPort":9001,"transportProtocol":"tls","applicationProtocols":"istio-http/1.1"})"
      R"({"destinationPort":9002,"transportProtocol":"tls"})");
  plan.faults.clear();
  EXPECT_THAT(chains_of(objects_of(
                  {.mode = MtlsMode::PERMISSIVE, .session_resumption = SessionResumption::off})[2]),
              HasSubstr(R"(9002,"transportProtocol":"tls","applicationProtocols":"istio"})"));

  EXPECT_THAT(resources_of(objects_of({.mode = MtlsMode::STRICT})), SizeIs(2));
  const auto plaintext = objects_of({.mode = MtlsMode::DISABLE});
  EXPECT_THAT(resources_of(plaintext), SizeIs(2));
  EXPECT_EQ(plaintext[0].object["spec"]["mtls"]["mode"], "DISABLE");
  EXPECT_EQ(plaintext[1].object["spec"]["trafficPolicy"]["tls"]["mode"], "DISABLE");
}

TEST(Istio, LeavesTheFirstPortOfServedPodsOutWhereThatIsPlanted) {
  auto plan = testing::plan_of();
  plan.ports.push_back({"http", base::Protocol::TCP, 8002, 9002});
  EXPECT_THAT(port_left_out(plan, "it"), IsEmpty());
  plan.faults = {FaultKind::port_left_out_of_strict};
  const auto objects = port_left_out(plan, "it");
  ASSERT_THAT(objects, SizeIs(1));
  const auto& spec = objects[0].object["spec"];
  EXPECT_EQ(spec["selector"]["matchLabels"]["stackbench.io/group"], "web");
  EXPECT_EQ(spec["portLevelMtls"].dump(), R"({"9001":{"mode":"PERMISSIVE"}})");
  EXPECT_EQ(spec["mtls"]["mode"], "STRICT");
}

TEST(Istio, IsAskedForAProxyByALabel) {
  Json pod = {{"metadata", {{"labels", {{"sidecar.istio.io/inject", "false"}}}}}};
  ask_for_proxy(pod, {.revision = "canary"},
                {.spec = {.workers = 2},
                 .certificates_last = std::chrono::seconds(5),
                 .certificates_renewed_every = std::chrono::seconds(2)});
  EXPECT_EQ(pod["metadata"]["labels"]["sidecar.istio.io/inject"], "true");
  EXPECT_EQ(pod["metadata"]["labels"]["istio.io/rev"], "canary");
  const auto config =
      base::parse_json(pod["metadata"]["annotations"]["proxy.istio.io/config"].get<std::string>())
          .value();
  EXPECT_EQ(config["concurrency"], 2);
  EXPECT_EQ(config["proxyMetadata"]["SECRET_TTL"], "5s");
  EXPECT_EQ(config["proxyMetadata"]["SECRET_GRACE_PERIOD_RATIO"], "0.600");
  ask_for_proxy(pod = {{"metadata", Json::object()}}, {}, {});
  EXPECT_FALSE(pod["metadata"]["labels"].contains("istio.io/rev"));
  EXPECT_THAT(pod["metadata"]["annotations"]["proxy.istio.io/config"].get<std::string>(),
              ::testing::Not(HasSubstr("SECRET_TTL")));
}

TEST(Istio, TellsProxiesAtItsServiceAndItsPods) {
  const Json service = {{"spec", {{"clusterIPs", {"10.96.0.9"}}}}};
  const Json endpoint = {{"addresses", {"10.244.1.2"}}};
  const Json slice = {{"endpoints", Json::array({endpoint})}};
  const auto plane = control_plane_of(list({service}), list({slice}));
  ASSERT_THAT(plane, SizeIs(2));
  EXPECT_EQ(fmt::format("{} {}", plane[0], plane[1]), "10.96.0.9:15012 10.244.1.2:15012");
  EXPECT_THAT(control_plane_of({}, {}), IsEmpty());
}

TEST(Istio, IsKnownByItsConfiguration) {
  const Json usual = {
      {"data",
       {{"mesh", "defaultProviders:\n  metrics:\n  - prometheus\ntrustDomain: a.domain\n"}}}};
  EXPECT_EQ(trust_domain_of(usual), "a.domain");
  EXPECT_TRUE(tells_metrics(usual));
  const Json bare = {{"data", {{"mesh", "enablePrometheusMerge: true\n"}}}};
  EXPECT_EQ(trust_domain_of(bare), "cluster.local");
  EXPECT_FALSE(tells_metrics(bare));
  EXPECT_EQ(envoy_version_of(R"({"version": "a/1.39.3/Clean", "state": "LIVE"})"),
            "a/1.39.3/Clean");
  EXPECT_EQ(envoy_version_of("nobody"), "");
}

TEST(Istio, TellsACertificateByWhatEnvoyShows) {
  const auto shown = shown_certificate(R"(2026-11-28T02:42:08Z	warn	OS CA Cert is not there
{"certificates": [
    {"ca_cert": [{"serial_number": "01"}], "cert_chain": []},
    {"ca_cert": [{"serial_number": "ff01"}],
     "cert_chain": [{"serial_number": "a1b2", "expiration_time": "2026-11-28T01:00:05Z",
                     "subject_alt_names": [{"uri": "spiffe://cluster.local/ns/it/sa/web"}]}]}]})");
  ASSERT_TRUE(shown) << shown.error().message;
  EXPECT_EQ(shown->serial, "A1B2");
  EXPECT_EQ(shown->not_after_s, 1'795'827'605);
  EXPECT_FALSE(shown_certificate("{}"));
  EXPECT_FALSE(shown_certificate("no JSON"));
}

TEST(Istio, TellsOfAProxyByItsPodsStatus) {
  const auto pod = [](const char* kind) {
    return Json{
        {"status",
         {{kind, Json::array({{{"name", "agent"}, {"ready", true}, {"restartCount", 9}},
                              {{"name", "istio-proxy"}, {"ready", true}, {"restartCount", 2}}})}}}};
  };
  EXPECT_EQ(proxy_status(pod("initContainerStatuses")),
            (ProxyStatus{.restarts = 2, .ready = true, .sidecar = true}));
  EXPECT_EQ(proxy_status(pod("containerStatuses")), (ProxyStatus{.restarts = 2, .ready = true}));
  EXPECT_FALSE(proxy_status(pod("ephemeralContainerStatuses")));
  EXPECT_FALSE(proxy_status({}));
}

constexpr std::string_view metrics = R"(# TYPE envoy_cluster_ssl_handshake counter
envoy_cluster_ssl_handshake{cluster_name="outbound|8001||web.it.svc.cluster.local"} 100
envoy_cluster_ssl_handshake{cluster_name="outbound|8002||web.it.svc.cluster.local"} 20
envoy_cluster_ssl_handshake{cluster_name="xds-grpc"} 3
envoy_cluster_ssl_session_reused{cluster_name="outbound|8001||web.it.svc.cluster.local"} 7
envoy_cluster_ssl_connection_error{cluster_name="outbound|8001||web.it.svc.cluster.local"} 2
envoy_cluster_ssl_fail_verify_san{cluster_name="outbound|8001||web.it.svc.cluster.local"} 1
envoy_cluster_upstream_cx_total{cluster_name="outbound|8001||web.it.svc.cluster.local"} 121
# TYPE envoy_cluster_upstream_cx_active gauge
envoy_cluster_upstream_cx_active{cluster_name="outbound|8002||web.it.svc.cluster.local"} 4
envoy_cluster_upstream_cx_active{cluster_name="xds-grpc"} 1
envoy_listener_downstream_cx_active{listener_address="0.0.0.0_15006"} 5
envoy_listener_downstream_cx_active{listener_address="10.96.0.7_8001"} 9
envoy_listener_downstream_cx_total{listener_address="0.0.0.0_15006"} 40
envoy_listener_downstream_cx_total{listener_address="0.0.0.0_15090"} 60
envoy_listener_downstream_cx_total{listener_address="10.96.0.7_8001"} 100
envoy_listener_downstream_cx_total{listener_address="0.0.0.0_8003"} 21
envoy_listener_worker_0_downstream_cx_total{listener_address="0.0.0.0_8003"} 21
envoy_listener_ssl_handshake{listener_address="0.0.0.0_15006"} 38
envoy_listener_ssl_session_reused{listener_address="0.0.0.0_15006"} 5
envoy_listener_ssl_connection_error{listener_address="0.0.0.0_15006"} 2
envoy_listener_no_filter_chain_match{listener_address="0.0.0.0_15006"} 6
envoy_listener_ssl_certificate_default_expiration_unix_time_seconds{listener_address="0.0.0.0_15006"} 1788000000
)";

TEST(ProxyStats, AreOfConnectionsBetweenProxiesAlone) {
  const auto counters = read_proxy_counters(metrics);
  EXPECT_EQ(counters.client_handshakes, 120U);
  EXPECT_EQ(counters.client_resumed, 7U);
  EXPECT_EQ(counters.client_failed, 3U);
  EXPECT_EQ(counters.upstream, 121U);
  EXPECT_EQ(counters.connections_out, 121U);
  EXPECT_EQ(counters.connections_in, 40U);
  EXPECT_EQ(counters.server_handshakes, 38U);
  EXPECT_EQ(counters.server_resumed, 5U);
  EXPECT_EQ(counters.server_failed, 2U);
  EXPECT_EQ(counters.no_chain, 6U);
  EXPECT_EQ(counters.certificate_expires_s, 1'788'000'000);
  EXPECT_EQ(read_open_proxy_connections(metrics), 9U);
  EXPECT_FALSE(read_proxy_counters("").certificate_expires_s);
  EXPECT_EQ(read_open_proxy_connections("nonsense\n{ 1\n"), 0U);
}

class MeshOnCluster : public testing::KubernetesTargetTest {
 protected:
  MeshOnCluster() {
    server_.put("/apis/apps/v1/namespaces/istio-system/deployments/istiod",
                control_plane("istiod", "default", "istio/pilot:1.28.0"));
    server_.put("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/injector",
                {{"metadata", {{"name", "injector"}, {"labels", {{"app", "sidecar-injector"}}}}}});
    server_.put(
        "/api/v1/namespaces/istio-system/configmaps/istio",
        {{"data", {{"mesh", "defaultConfig:\n  trustDomain: no\ntrustDomain: a.domain\n"}}}});
    server_.answer_with({.when = "GET /apis",
                         .status = 200,
                         .body = R"({"groups":[{"name":"security.istio.io"}]})",
                         .exact = true});
    server_.answer_with({.when = "services/http:istiod:15014/proxy/version",
                         .status = 200,
                         .body = "1.28.0-5a1b-Clean",
                         .content_type = "text/plain"});
  }
  static EnvironmentPlan plan() {
    auto plan = testing::plan_of("strict");
    plan.mesh = MeshPlan{.spec = {.mode = MtlsMode::STRICT}};
    return plan;
  }
};

TEST_F(MeshOnCluster, PutsProxiesBesideAllPodsButTheClientOutside) {
  server_.set_injects_proxies(true);
  const auto it = target();
  ASSERT_TRUE(it);
  EXPECT_EQ(it->facts()["mesh"]["version"], "1.28.0-5a1b-Clean");
  EXPECT_FALSE(it->unavailable(plan())->has_value());
  const auto environment = it->provision(plan());
  ASSERT_TRUE(environment) << environment.error().message;
  const auto space = fmt::format("stackbench-{}-strict", it->run());
  const auto inject_of = [&](const std::string& pod) {
    return text_at(server_.object(fmt::format("/api/v1/namespaces/{}/pods/{}", space, pod)),
                   {"metadata", "labels", inject_label});
  };
  EXPECT_EQ(inject_of("client-0"), "true");
  EXPECT_EQ(inject_of("web-1"), "true");
  EXPECT_EQ(inject_of(std::string(external_client)), "false");
  EXPECT_EQ(environment->pods.back().name, external_client);
  // Each group has an account of its own, and the one outside that of everybody.
  const auto account_of = [&](const std::string& pod) {
    return text_at(server_.object(fmt::format("/api/v1/namespaces/{}/pods/{}", space, pod)),
                   {"spec", "serviceAccountName"});
  };
  EXPECT_EQ(account_of("web-1"), "web");
  EXPECT_EQ(account_of(std::string(external_client)), "");
  EXPECT_EQ(text_at(server_.object(fmt::format("/api/v1/namespaces/{}/serviceaccounts/web", space)),
                    {"metadata", "name"}),
            "web");
  server_.put(fmt::format("/api/v1/namespaces/{}/configmaps/istio-ca-root-cert", space),
              {{"data", {{"root-cert.pem", "a root"}}}});
  const auto identities = it->mesh_identities("strict");
  ASSERT_TRUE(identities) << identities.error().message;
  EXPECT_EQ(identities->spiffe.at("web-1"), fmt::format("spiffe://a.domain/ns/{}/sa/web", space));
  EXPECT_EQ(identities->spiffe.count(std::string(external_client)), 0U);
  EXPECT_EQ(identities->roots, "a root");
  EXPECT_EQ(server_.object(
                fmt::format("/apis/security.istio.io/v1/namespaces/{}/peerauthentications/default",
                            space))["spec"]["mtls"]["mode"],
            "STRICT");
  EXPECT_EQ(text_at(server_.object("/api/v1/namespaces/" + space),
                    {"metadata", "labels", "pod-security.kubernetes.io/enforce"}),
            "privileged");

  // Each proxy is asked for its own page, and the one who has none is not.
  for (const auto* pod : {"client-0", "web-0", "web-1", "web-2"}) {
    server_.answer_with({.when = fmt::format("pods/{}:15090/proxy/stats/prometheus", pod),
                         .status = 200,
                         .body = std::string(metrics),
                         .content_type = "text/plain",
                         .times = 1});
  }
  const auto counters = it->proxy_counters("strict");
  ASSERT_TRUE(counters) << counters.error().message;
  ASSERT_THAT(*counters, SizeIs(4));
  EXPECT_EQ(counters->front().pod, "client-0");
  EXPECT_EQ(counters->front().client_handshakes, 120U);
  const auto certificates = it->impostor_certificates("strict");
  ASSERT_TRUE(certificates);
  EXPECT_FALSE(*certificates) << "the authority of somebody's mesh is not ours";
}

TEST_F(MeshOnCluster, ObjectsOfTheScenarioAreInForceBeforeItsPodsAndNameWhoIsMeant) {
  server_.set_injects_proxies(true);
  auto guarded = plan();
  guarded.mesh->spec.objects.push_back(base::parse_json(R"({
    "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
    "metadata": {"name": "callers", "namespace": "default"},
    "spec": {"rules": [{"from": [{"source":
        {"principals": ["cluster.local/ns/default/sa/client"]}}]}]}})")
                                           .value());
  const auto it = target();
  ASSERT_TRUE(it);
  ASSERT_TRUE(it->provision(guarded));
  const auto space = fmt::format("stackbench-{}-strict", it->run());
  const auto written = server_.object(
      fmt::format("/apis/security.istio.io/v1/namespaces/{}/authorizationpolicies/callers", space));
  EXPECT_EQ(written["spec"]["rules"][0]["from"][0]["source"]["principals"][0],
            fmt::format("cluster.local/ns/{}/sa/client", space));
}

TEST_F(MeshOnCluster, WhatProxiesUseIsAskedOfAProgramOnEachNode) {
  server_.set_injects_proxies(true);
  server_.on_exec([](testing::ExecSession& session) {
    // Each question is a line of pods' UIDs; of one of them there is no proxy to be seen.
    while (const auto question = session.read()) {
      std::istringstream words(*question);
      Json answer = Json::object();
      std::string uid;
      words >> uid;
      while (words >> uid) answer[uid] = {{"cpu_ns", 5000}, {"resident_bytes", 1 << 20}};
      session.write_out(base::dump_json(answer) + "\n");
    }
    session.exit(0);
  });
  const auto it = target();
  ASSERT_TRUE(it);
  ASSERT_TRUE(it->provision(plan()));
  const auto usage = it->proxy_usage("strict");
  ASSERT_TRUE(usage) << usage.error().message;
  ASSERT_THAT(*usage, SizeIs(2)) << "of three on the second node, and none of the client's";
  EXPECT_EQ(usage->front().pod, "web-1");
  EXPECT_EQ(usage->front().cpu_ns, 5000);
  EXPECT_GT(usage->front().at_ns, 0);
  const auto facts = it->facts()["environments"]["strict"]["mesh"];
  EXPECT_THAT(facts["usage"].get<std::string>(), HasSubstr("Envoy and istio-agent"));
  EXPECT_EQ(facts["mode"], "STRICT");
  ASSERT_TRUE(it->proxy_usage("strict"));
  EXPECT_EQ(server_.count("pods/meter.n2/exec"), 1);
  EXPECT_TRUE(it->teardown());
}

TEST_F(MeshOnCluster, AProxyIsAskedToEndAndNobodyKillsIt) {
  server_.set_injects_proxies(true);
  const auto it = target();
  ASSERT_TRUE(it);
  ASSERT_TRUE(it->provision(plan()));
  const auto killed = it->restart_proxy("strict", "web-0", ProxyEnd::killed);
  ASSERT_FALSE(killed);
  EXPECT_EQ(killed.error().kind, base::ErrorKind::missing);
  EXPECT_THAT(killed.error().mend, HasSubstr("proxy_restart"));
  const auto outside =
      it->restart_proxy("strict", std::string(external_client), ProxyEnd::terminated);
  ASSERT_FALSE(outside);
  EXPECT_THAT(outside.error().message, HasSubstr("no proxy beside external"));

  const auto path = fmt::format("/api/v1/namespaces/stackbench-{}-strict/pods/web-0", it->run());
  const auto started = [&](int restarts) {
    auto pod = server_.object(path);
    pod["status"]["initContainerStatuses"] =
        Json::array({{{"name", "istio-proxy"}, {"ready", true}, {"restartCount", restarts}}});
    server_.put(path, pod);
  };
  started(0);
  server_.on_exec([&](testing::ExecSession& session) {
    started(1);
    session.exit(0);
  });
  const auto stamps = it->restart_proxy("strict", "web-0", ProxyEnd::terminated);
  ASSERT_TRUE(stamps) << stamps.error().message;
  EXPECT_GE(stamps->acked_ns, stamps->sent_ns);
  EXPECT_GE(*stamps->programmed_ns, stamps->acked_ns);
  EXPECT_EQ(server_.count("container=istio-proxy"), 2) << "which Envoy it is was asked before";
}

TEST_F(MeshOnCluster, WhatProxiesUseIsUnknownWhereNobodyMayLook) {
  server_.set_injects_proxies(true);
  const auto it = target();
  ASSERT_TRUE(it);
  ASSERT_TRUE(it->provision(plan()));
  server_.answer_with(
      {.when = "pods/meter.", .status = 403, .body = R"({"message":"no hostPID here"})"});
  const auto usage = it->proxy_usage("strict");
  ASSERT_TRUE(usage) << usage.error().message;
  EXPECT_THAT(*usage, IsEmpty());
  EXPECT_THAT(it->facts()["environments"]["strict"]["mesh"]["usage"].get<std::string>(),
              AllOf(HasSubstr("unknown"), HasSubstr("no hostPID here")));
  EXPECT_THAT(*it->proxy_usage("strict"), IsEmpty());
}

TEST_F(MeshOnCluster, APodThatComesBackWithoutItsProxyIsOneClearError) {
  const auto it = target();
  ASSERT_TRUE(it);
  const auto environment = it->provision(plan());
  ASSERT_FALSE(environment);
  EXPECT_THAT(environment.error().message, HasSubstr("came back without a proxy"));
  EXPECT_THAT(environment.error().mend, HasSubstr("injector"));
  EXPECT_THAT(in_namespace("/api/v1/namespaces"), IsEmpty()) << "nothing is left";
}

TEST_F(MeshOnCluster, OfThisMachinesOwnIsTriedByItsOwnAuthority) {
  for (const auto* name : {"n1", "n2"}) {
    auto own = server_.object(fmt::format("/api/v1/nodes/{}", name));
    own["metadata"]["labels"][std::string(managed_by_label)] = managed_by;
    server_.put(fmt::format("/api/v1/nodes/{}", name), own);
  }
  server_.set_injects_proxies(true);
  const auto it = target();
  ASSERT_TRUE(it);
  ASSERT_TRUE(it->provision(plan()));
  // "no" and "key", in base64: no certificates.
  server_.put("/api/v1/namespaces/istio-system/secrets/istio-ca-secret",
              {{"data", {{"ca-cert.pem", "bm8="}, {"ca-key.pem", "a2V5"}}}});
  EXPECT_FALSE(it->impostor_certificates("strict"));
}

}  // namespace
}  // namespace cluster
