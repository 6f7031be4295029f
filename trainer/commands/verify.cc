#include "trainer/verify/verify.h"

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "data/io/file.h"
#include "data/io/json.h"
#include "data/io/output.h"
#include "data/io/say.h"
#include "kernels/comm/world.h"
#include "kernels/runtime/status.h"
#include "trainer/commands/command.h"
#include "trainer/commands/commands.h"
#include "trainer/config/load.h"
#include "trainer/run/stop_signal.h"

namespace wyvern {
namespace {

struct Options {
  std::string dir;
  std::vector<std::string> sets, checks;
  VerifyOptions verify;
};

// The card of an earlier time, which has all its parts.
absl::StatusOr<nlohmann::json> ReadCard(const std::string& path) {
  ASSIGN_OR_RETURN(nlohmann::json card, ReadJsonFile(path));
  try {
    (void)CardMarkdown(card);
  } catch (const nlohmann::json::exception&) {
    return absl::DataLossError(absl::StrCat(path, ": it is no card of this version; remove it"));
  }
  return card;
}

absl::Status Verify(Options options) {
  ASSIGN_OR_RETURN(const RankEnvironment ranks, AsUsage(ReadRankEnvironment(EnvironmentVariable)));
  if (ranks.start != RankEnvironment::Start::kSingle) {
    return absl::InvalidArgumentError(
        "verify: it runs as one process, which starts others itself; start it without mpirun, "
        "srun or scripts/launch");
  }
  ASSIGN_OR_RETURN(const RunConfig recipe,
                   AsUsage(LoadRunConfig(options.verify.recipe, options.sets)));
  options.verify.checks = {options.checks.begin(), options.checks.end()};
  const std::string dir =
      AbsolutePath(options.dir.empty() ? "cards/" + recipe.run.name : options.dir);
  std::error_code ignored;
  if (std::filesystem::exists(dir, ignored) && !std::filesystem::is_empty(dir, ignored) &&
      !std::filesystem::exists(dir + "/card.json", ignored)) {
    return absl::FailedPreconditionError(
        absl::StrCat(dir, ": it holds other things than a card; name another folder by --output"));
  }
  std::optional<nlohmann::json> older;
  if (std::filesystem::exists(dir + "/card.json", ignored)) {
    ASSIGN_OR_RETURN(older, ReadCard(dir + "/card.json"));
  }
  RETURN_IF_ERROR(MakeFolders(std::filesystem::path(dir).parent_path().string()));
  ASSIGN_OR_RETURN(Output output, Output::Claim(dir));
  const std::string& made = output.temporary();
  const std::string scratch = made + "/scratch";
  RETURN_IF_ERROR(MakeFolders(scratch + "/data"));
  ASSIGN_OR_RETURN(Card card, VerifyRecipe(recipe, options.verify, scratch));
  for (const std::string& set : options.sets) card.facts.emplace_back("with", set);
  std::filesystem::remove_all(scratch, ignored);
  nlohmann::json json = card.Json();
  if (older.has_value()) {
    const std::string differs = KeepOtherChecks(*older, &json);
    if (!differs.empty() && !options.checks.empty()) {
      SayError(absl::StrCat(dir,
                            ": the card that was there is replaced with all its checks; it is "
                            "of another \"",
                            differs, "\""));
    }
  }
  RETURN_IF_ERROR(WriteFileAtomically(made + "/card.json", JsonText(json, 1) + "\n"));
  RETURN_IF_ERROR(WriteFileAtomically(made + "/card.md", CardMarkdown(json)));
  RETURN_IF_ERROR(output.CommitReplacing());
  Say(absl::StrCat("\n", CardMarkdown(json)));
  Say(absl::StrCat("card: ", dir, "/card.md, ", dir, "/card.json"));
  if (json["passed"]) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("verify: not everything passed; see ", dir, "/card.md"));
}

}  // namespace

void AddVerifyCommand(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "verify", "Check a recipe on this machine: resume, exports, numbers and speed, as a card");
  command->add_option("CONFIG", options->verify.recipe, "YAML file; its data are not read")
      ->required();
  command->add_option("--set", options->sets, "key=value: overrides a key of the file");
  command->add_option("--output", options->dir,
                      "Folder of the card, and of what is trained meanwhile (cards/NAME)");
  command
      ->add_option("--tokens", options->verify.max_tokens,
                   "Tokens whose logits and gradients are compared with the CPU's (256)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20));
  command
      ->add_option("--only", options->checks,
                   "Of resume, exports, numbers and speed; an older card of the same program, "
                   "configuration and device keeps its others")
      ->check(CLI::IsMember({"resume", "exports", "numbers", "speed"}));
  command->callback([=] {
    const StopAtOnce nothing_to_save("the same command begins anew");
    *exit_code = ExitCode(Verify(*options));
  });
}

}  // namespace wyvern
