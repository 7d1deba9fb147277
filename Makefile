# Everything happens in .venv, made here on the first run. Choose another Python with PYTHON=, another folder with VENV=.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
README ?= README.md

# Tools that like to write to the home folder write into the environment instead.
HERE := $(if $(filter /%,$(VENV)),$(VENV),$(CURDIR)/$(VENV))
TIDY := OMP_WAIT_POLICY=passive MPLCONFIGDIR="$(HERE)/var/matplotlib" IPYTHONDIR="$(HERE)/var/ipython" JUPYTER_CONFIG_DIR="$(HERE)/var/jupyter" \
        JUPYTER_DATA_DIR="$(HERE)/share/jupyter" JUPYTER_RUNTIME_DIR="$(HERE)/var/jupyter" PYTHONWARNINGS=ignore::FutureWarning

.PHONY: help install demo test soak fuzz lab readme export run images docs compat compat-notebooks
help:
	@echo "make demo    train DEMS-ViT on 6,000 pictures of clothes (a few minutes on two CPU cores)"
	@echo "make test    run every notebook and every test; SLOW=1 also those for once a week"
	@echo "make soak    kill trainings for MINUTES=30, or KILLS=120 times, and compare what comes of them, to the bit"
	@echo "make fuzz    damage FILES=5000 files and read them"
	@echo "make lab     open the notebooks in JupyterLab"
	@echo "make export  write dems_nb/*.py from the notebooks, and clean them"
	@echo "make run     run the notebooks in place (one of them: NB=nbs/03_model.ipynb)"
	@echo "make readme  write README.md from nbs/index.ipynb"
	@echo "make docs    build the site of the course in _docs/html (nothing is run, nothing fetched by its pages)"
	@echo "make compat  the package's tests with the oldest and the newest Python and packages (three environments)"
	@echo "make images  draw the README's pictures (the viewer's needs a browser)"

install: $(STAMP)

# A second run does not reinstall: the stamp is older than what it was made from only after those change.
$(STAMP): settings.ini setup.py
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 10) else "Python %d.%d is too old: dems_nb needs 3.10 or newer; name one with make PYTHON=python3.11" % v[:2])'
	@$(BIN)/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) \
	  || { echo 'no virtual environment could be made: on Debian and Ubuntu, apt install python3-venv'; exit 1; }
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -e '.[dev]'
	@touch $@

demo: $(STAMP)
	$(TIDY) $(BIN)/dems_demo $(DEMO)

# Notebooks two at a time, each on one thread; then the tests likewise, with pytest, whose line closes the run.
# The studies' pages are run by a test, which also compares what they print.
STUDIES := baseline|ablations|data_efficiency
test: $(STAMP)
	$(TIDY) OMP_NUM_THREADS=1 $(BIN)/nbdev_test --n_workers 2 --do_print --skip_file_re '^([_.]|($(STUDIES))\.ipynb)'
	$(TIDY) OMP_NUM_THREADS=1 $(SLOW:%=DEMS_SLOW=%) $(BIN)/python -m pytest -n 2 $(PYTEST)

# What the reliability paragraph of the README quotes. SEED=1 begins elsewhere.
MINUTES ?= 30
FILES   ?= 5000
SEED    ?= 0
soak: $(STAMP)
	$(TIDY) OMP_NUM_THREADS=1 $(BIN)/python -W ignore tests/soak/soak.py --minutes $(MINUTES) $(KILLS:%=--kills %) --seed $(SEED)

fuzz: $(STAMP)
	$(TIDY) OMP_NUM_THREADS=1 $(BIN)/python -W ignore tests/fuzz/fuzz.py --files $(FILES) --seed $(SEED)

lab: $(STAMP)
	$(TIDY) $(BIN)/jupyter lab nbs/index.ipynb

export: $(STAMP)
	$(BIN)/nbdev_export
	$(BIN)/nbdev_clean

# Run notebooks in place, so that their outputs are those of their code: make run NB=nbs/03_model.ipynb
NB ?= $(sort $(wildcard nbs/*.ipynb))
run: $(STAMP)
	$(TIDY) PYTHONWARNINGS=ignore $(BIN)/jupyter nbconvert --to notebook --execute --inplace --log-level WARN $(NB)
	$(BIN)/nbdev_clean

# index.ipynb lives in nbs/, README.md one folder up: links follow, and code is marked as Python.
readme: $(STAMP)
	@$(TIDY) $(BIN)/jupyter nbconvert --to markdown --stdout --log-level ERROR \
	  --TagRemovePreprocessor.enabled=True --TagRemovePreprocessor.remove_input_tags=remove_input nbs/index.ipynb \
	  | sed -E 's#\]\(((images/|tutorials/)?[A-Za-z0-9_]+\.(ipynb|png))\)#](nbs/\1)#g; s#\]\(\.\./#](#g' \
	  | cat -s | awk '/^```/ { open = !open; if (open && $$0 == "```") $$0 = "```python" } { print }' > $(README).new
	@mv $(README).new $(README)

images: $(STAMP)
	$(TIDY) $(BIN)/python tests/draw_images.py

# The site: the committed notebooks with their outputs, and API pages. Sphinx is installed when it is first wanted.
docs: $(STAMP)
	@$(BIN)/python -c 'import furo, myst_nb' 2> /dev/null || $(BIN)/python -m pip install --disable-pip-version-check --quiet -e '.[docs]'
	$(TIDY) $(BIN)/python docs/build.py _docs

# Once for a release: Python 3.10 with the oldest packages that settings.ini admits, 3.12 and 3.13 with the newest.
OLDEST ?= python3.10
NEWEST ?= python3.12 python3.13
compat:
	.ci/compat oldest $(OLDEST)
	for python in $(NEWEST); do .ci/compat newest $$python || exit 1; done

# The notebooks under nbdev 3 and the newest fastai; some of them: make compat-notebooks NOTEBOOKS=nbs/00_layout.ipynb
compat-notebooks: $(STAMP)
	.ci/nbdev3 $(BIN)/python
