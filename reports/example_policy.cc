#include "reports/conclude.h"
#include "reports/example.h"

namespace reports {
namespace {

MatrixRecord example_matrix() {
  MatrixRecord matrix{.environment = "direct",
                      .pods = {"api-0", "batch-0", "db-0"},
                      .ports = {"http", "sql", "http-udp"},
                      .rows = {{"api-0", {"+++", "+++", ".+."}},
                               {"batch-0", {"!..", "+++", "..."}},
                               {"db-0", {"...", "x..", "~++"}}},
                      .cells = 27,
                      .allowed = 14,
                      .denied = 13,
                      .unknown = 0,
                      .different = 2,
                      .no_telling = 1,
                      .sweeps = 3,
                      .settled = true,
                      .settled_ns = 12'300'000,
                      .sweep_ns = 261'000'000,
                      .results_per_second = 18'621};
  matrix.differences = {
      {.from = "batch-0",
       .to = "api-0",
       .port = "http",
       .protocol = "TCP",
       .expected = "denied",
       .observed = "answered",
       .explanation = "denied: egress of default/batch-0: no policy selects it; ingress of "
                      "shop/api-0 is isolated by policy shop/api, none of whose rules matches",
       .repeat = "stackbench run scenarios/policy.yaml --set 'policy.only={from: batch-0, to: "
                 "api-0, port: http}'"},
      {.from = "db-0",
       .to = "batch-0",
       .port = "http",
       .protocol = "TCP",
       .expected = "allowed",
       .observed = "timed_out",
       .explanation = "allowed: egress of shop/db-0: no policy selects it; ingress of "
                      "default/batch-0: no policy selects it",
       .repeat = "stackbench run scenarios/policy.yaml --set 'policy.only={from: db-0, to: "
                 "batch-0, port: http}'",
       .drops = {{"TC_INGRESS in sch_handle_ingress", 3}},
       .verdict_event = "denied by ingress of batch-0: no_rule_allows"}};
  matrix.unexplained = {
      "Who enforces policies was not asked of this: with the network plugin calico "
      "nobody tells which packets policies denied (Cilium does, by Hubble)"};
  return matrix;
}

CasesRecord example_cases() {
  CasesRecord cases{.environment = "direct",
                    .systematic = 40,
                    .random = 50,
                    .wanted = 90,
                    .seed = 7,
                    .cells = 43'740,
                    .failed = 1,
                    .took_ns = 21'000'000'000,
                    .features = {{"end_port", 11}, {"ip_block", 23}}};
  cases.failures = {{.name = "random set 17",
                     .policies = {{{"kind", "NetworkPolicy"}, {"metadata", {{"name", "p1"}}}}},
                     .differences = {{.from = "api-0",
                                      .to = "db-0",
                                      .port = "sql",
                                      .protocol = "TCP",
                                      .expected = "denied",
                                      .observed = "answered",
                                      .explanation = "denied: no rule of default/p1 matches"}},
                     .repeat = "stackbench run scenarios/policy.yaml --set seed=7"}};
  return cases;
}

}  // namespace

Report example_policy_report() {
  Report report;
  report.stackbench_version = "0.1.0";
  report.question = "Are NetworkPolicies enforced as they are written, and how soon?";
  report.target = "lab";
  report.complete = true;
  report.scenario.file = "scenarios/policy.yaml";
  report.started = {.wall = "2025-03-01T12:00:00Z", .monotonic_ns = 1'000'000'000'000};
  report.ended = {.wall = "2025-03-01T12:01:10Z", .monotonic_ns = 1'070'000'000'000};
  report.plan.expected_ns = 66'000'000'000;
  report.environments = {{.name = "direct", .datapath = "direct"}};
  PolicyRecord policy;
  policy.matrices = {example_matrix()};
  policy.cases = {example_cases()};
  const WindowFlow flow{.from = "api-0",
                        .to = "db-0",
                        .port = "sql",
                        .packets = 312,
                        .bytes = 18'720,
                        .first_ns = 400'000,
                        .last_ns = 52'100'000};
  policy.windows = {{.environment = "direct",
                     .change = "close_db",
                     .what = "create NetworkPolicy shop/close",
                     .direction = "closes",
                     .repetitions = 6,
                     .excluded = 1,
                     .window = SpanSummary{.median_ns = 50'400'000,
                                           .interval = Interval{49'800'000, 51'200'000, 0.96875},
                                           .max_ns = 52'100'000},
                     .packets = 312,
                     .bytes = 18'720,
                     .error_ns = 640'000,
                     .rate_per_second = 1'000,
                     .claimed_ns = 900'000,
                     .after_claim_ns = 49'500'000,
                     .flows = {flow}},
                    {.environment = "direct",
                     .change = "close_db",
                     .what = "delete NetworkPolicy shop/close",
                     .direction = "opens",
                     .repetitions = 6,
                     .window = SpanSummary{},
                     .error_ns = 610'000,
                     .rate_per_second = 1'000,
                     .flows = {{.from = "api-0", .to = "db-0", .port = "sql"}}}};
  policy.established = {{.environment = "direct",
                         .change = "close_db",
                         .what = "create NetworkPolicy shop/close",
                         .kind = "busy_tcp",
                         .flows = 6,
                         .ends = {{"killed", 1}, {"stalled", 5}},
                         .after_ns = 51'000'000,
                         .expected = "stalled"},
                        {.environment = "direct",
                         .change = "close_db",
                         .what = "create NetworkPolicy shop/close",
                         .kind = "udp",
                         .flows = 6,
                         .ends = {{"surviving", 6}}}};
  policy.new_pods = {{.environment = "direct",
                      .pod = "db-0",
                      .repetitions = 6,
                      .unseen = 1,
                      .packets = 31,
                      .bytes = 1'860,
                      .first_ns = 1'100'000,
                      .last_ns = 21'300'000,
                      .reached_ns = 900'000,
                      .flows = {{.from = "db-0", .to = "api-0", .port = "sql", .packets = 31}}}};
  report.policy = std::move(policy);
  report.checks = {{.name = "policy_matrix",
                    .arm = "direct",
                    .verdict = Verdict::fail,
                    .sentence = "2 of 27 cells are not as specified"},
                   {.name = "leak_window",
                    .arm = "direct",
                    .verdict = Verdict::pass,
                    .sentence = "no packet contradicted a write longer than 52.1 ms after it"}};
  report.conclusion = conclude(report);
  return report;
}

}  // namespace reports
