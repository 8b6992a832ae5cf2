# The README's steps in a container, with cron in it. SQLite, attachments and settings lie in one
# volume, the logs in another:
#   docker build -t relance .
#   docker run -d --name relance -v relance-data:/srv/relance/backend/data \
#       -v relance-logs:/srv/relance/backend/logs relance
#   docker exec -it -u relance relance .venv/bin/python backend/scripts/manage.py status
# Settings stand in backend/data/relance.env, which the first start makes with a fresh key: cron
# hands no environment on. docs/operating.md tells the rest.
FROM python:3.12-slim-bookworm

RUN apt-get update \
    && apt-get install --yes --no-install-recommends make cron \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home relance

WORKDIR /srv/relance
COPY . .
RUN make install \
    && mkdir -p backend/data backend/logs \
    && chown -R relance: backend/data backend/logs

ENV RELANCE_ENV_FILE=/srv/relance/backend/data/relance.env
VOLUME ["/srv/relance/backend/data", "/srv/relance/backend/logs"]

# As relance: what is missing is made, and the two lines go into its crontab. cron itself is root's.
CMD ["sh", "-ec", "for step in init 'cron install --yes'; do runuser -u relance -- .venv/bin/python backend/scripts/manage.py $step; done; exec cron -f"]
HEALTHCHECK --interval=5m --start-period=10m CMD ["runuser", "-u", "relance", "--", ".venv/bin/python", "backend/scripts/manage.py", "doctor", "--offline", "--quiet"]
