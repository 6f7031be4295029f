#include "trainer/commands/commands.h"

namespace wyvern {

void AddAllCommands(CLI::App& app, int* exit_code) {
  AddTrainCommand(app, exit_code);
  AddPreflightCommand(app, exit_code);
  AddSweepCommand(app, exit_code);
  AddReportCommand(app, exit_code);
  AddFitCommand(app, exit_code);
  AddConfigCommand(app, exit_code);
  AddPlanCommand(app, exit_code);
  AddDataCommand(app, exit_code);
  AddEvalCommand(app, exit_code);
  AddScoreCommand(app, exit_code);
  AddGenerateCommand(app, exit_code);
  AddCheckpointCommand(app, exit_code);
  AddBranchCommand(app, exit_code);
  AddImportCommand(app, exit_code);
  AddExportCommand(app, exit_code);
  AddParityCommand(app, exit_code);
  AddSelftestCommand(app, exit_code);
  AddVerifyCommand(app, exit_code);
  AddBenchCommand(app, exit_code);
  AddCompletionCommand(app, exit_code);
  AddManCommand(app, exit_code);
}

}  // namespace wyvern
