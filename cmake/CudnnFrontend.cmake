# cuDNN's fused attention is reached through the header-only cudnn-frontend, which comes as a
# Python wheel. The wheel is fetched once into the build tree.
set(WYVERN_CUDNN_FRONTEND_VERSION 1.32.0)
set(CUDNN_FRONTEND_DIR ${CMAKE_SOURCE_DIR}/build/_deps/cudnn_frontend-${WYVERN_CUDNN_FRONTEND_VERSION})
if(NOT EXISTS ${CUDNN_FRONTEND_DIR}/include/cudnn_frontend.h)
  find_package(Python3 REQUIRED COMPONENTS Interpreter)
  message(STATUS "Fetching nvidia-cudnn-frontend ${WYVERN_CUDNN_FRONTEND_VERSION}")
  execute_process(
    COMMAND ${Python3_EXECUTABLE} -m pip download -q --no-deps -d ${CUDNN_FRONTEND_DIR}
            nvidia-cudnn-frontend==${WYVERN_CUDNN_FRONTEND_VERSION}
    RESULT_VARIABLE FAILED)
  file(GLOB WHEEL ${CUDNN_FRONTEND_DIR}/*.whl)
  if(FAILED OR NOT WHEEL)
    message(FATAL_ERROR "Could not fetch the wheel nvidia-cudnn-frontend. Unpack its include "
                        "folder into ${CUDNN_FRONTEND_DIR} by hand.")
  endif()
  file(ARCHIVE_EXTRACT INPUT ${WHEEL} DESTINATION ${CUDNN_FRONTEND_DIR} PATTERNS include/*)
endif()
find_path(CUDNN_INCLUDE cudnn.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
if(NOT CUDNN_INCLUDE)
  message(FATAL_ERROR "cuDNN 9 is missing. Install libcudnn9-dev-cuda-13.")
endif()
# libcudnn.so.9 itself is opened at run time, where there is one.
wyvern_imported(wyvern::cudnn "${CUDNN_FRONTEND_DIR}/include;${CUDNN_INCLUDE}" ${CMAKE_DL_LIBS})
